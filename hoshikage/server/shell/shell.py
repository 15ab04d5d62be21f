"""The shell: an ASGI app that decides who comes in, and answers every failure in JSON.

Its order is part of its safety: name and page, route, method, key, number of requests, body. Nothing of a body is read
for somebody who may not send one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import orjson

from hoshikage.server.failures import noted
from hoshikage.server.metrics import Metrics
from hoshikage.server.problem import Problem
from hoshikage.server.rates import Rates
from hoshikage.server.routes import Route, Routes
from hoshikage.server.shell import protocol
from hoshikage.server.shell.body import ClientLeft, Room, Share, check_announced, read_body
from hoshikage.server.shell.exchange import (
    IN_SCOPE,
    SAFE,
    App,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
    in_origin_form,
)
from hoshikage.server.shell.hosts import Hosts
from hoshikage.server.shell.keys import Access, Keys
from hoshikage.server.shell.limits import Limits

ONCE = ("host", "content-length", "authorization", "origin", "transfer-encoding")  # two of them could mean two things
SPARE = 8  # places beyond the most, for the owner of the machine
METHODS_WITH_BODY = ("POST", "PUT", "PATCH")
access_log = logging.getLogger("hoshikage.access")


class Shell:
    """Stands round `inner`, which sees only what came through."""

    def __init__(
        self, inner: App, routes: Routes, *, limits: Limits, hosts: Hosts, keys: Keys, metrics: Metrics, rates: Rates
    ) -> None:
        self._inner = inner
        self._routes = routes
        self._limits = limits
        self._hosts = hosts
        self._keys = keys
        self._metrics = metrics
        self._rates = rates
        self._n_at_work = 0
        self._n_of: Counter[str] = Counter()
        self._room = Room(limits)
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._inner(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = in_origin_form(scope)
        exchange = Exchange(scope, receive)
        exchange.told = self._routes.teller(exchange.raw_path)
        scope[IN_SCOPE] = exchange
        sender = Sender(exchange, send, self._limits, scope.get(protocol.IN_SCOPE))
        started = time.monotonic()
        try:
            await self._pass(exchange, scope, receive, sender)
        except ClientLeft:
            exchange.leave()
        except Exception as error:
            await self._fail(exchange, sender, error)
        finally:
            exchange.close()
            if exchange.gone:
                self._metrics.left()
            self._note(exchange, time.monotonic() - started)

    async def _pass(self, exchange: Exchange, scope: Scope, receive: Receive, sender: Sender) -> None:
        self._check_headers(scope)
        self._hosts.check_host(exchange.headers.get("host"))
        exchange.origin = self._hosts.check_origin(exchange.headers.get("origin"), exchange.headers.get("host"))
        by_method, exchange.values = self._routes.find(exchange.raw_path)
        if exchange.method == "OPTIONS" and by_method:
            await sender.whole(204, b"", preflight(exchange, by_method))
            return
        if not by_method:
            meant = self._routes.meant_by(exchange.raw_path)
            hint = f"did you mean {meant}?" if meant else "/openapi.json names those there are"
            raise Problem(404, f"there is no such path; {hint}", "not_found")
        exchange.route = route = route_of(exchange, by_method)
        self._keys.check(exchange, route.access)
        if self.stopping and route.access is not Access.OPEN:
            sentence = "the server is stopping; ask again when it is back"
            raise Problem(503, sentence, "server_stopping", headers={"retry-after": "5", "connection": "close"})
        self._check_room(exchange, route.access)
        with self._place_of(exchange.who):  # taken at once: whoever comes while rates are asked for finds it taken
            if route.access is Access.USER and exchange.method in METHODS_WITH_BODY:
                await self._rates.enter(exchange.who)
            await self._work(exchange, scope, receive, sender)

    def _check_room(self, exchange: Exchange, access: Access) -> None:
        """One client leaves some places to others, and all of them some to the owner of the machine."""
        most, n_own = self._limits.n_requests, self._n_of[exchange.who]
        if access is Access.OPEN or (access is Access.ADMIN and self._n_at_work < most + SPARE):
            return
        if self._n_at_work >= most or n_own >= max(most - max(most // 8, 1), 2):
            sentence = f"{self._n_at_work} requests are at work, {n_own} of them yours; ask again soon"
            raise Problem(429, sentence, "too_many_requests", headers={"retry-after": "1"})

    @contextmanager
    def _place_of(self, who: str) -> Iterator[None]:
        """A place among those at work."""
        self._n_at_work += 1
        self._n_of[who] += 1
        try:
            yield
        finally:
            self._n_at_work -= 1
            self._n_of[who] -= 1
            if not self._n_of[who]:
                del self._n_of[who]

    async def _work(self, exchange: Exchange, scope: Scope, receive: Receive, sender: Sender) -> None:
        check_announced(exchange, self._limits)
        with Share(self._room, exchange.who) as share:
            if exchange.method in METHODS_WITH_BODY:
                exchange.body = await read_body(receive, self._limits, share)
            inner_scope = {**scope, "method": route_method(exchange)}
            await self._inner(inner_scope, nothing_more, sender.message)

    def _check_headers(self, scope: Scope) -> None:
        names = [name.decode("latin-1") for name, _ in scope["headers"]]
        if len(names) > self._limits.n_headers:
            sentence = f"there are {len(names)} headers; send at most {self._limits.n_headers}"
            raise Problem(431, sentence, "bad_request", headers={"connection": "close"})
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > self._limits.header_bytes:
            sentence = f"the header is larger than {self._limits.header_bytes} bytes; send less of it"
            raise Problem(431, sentence, "bad_request", headers={"connection": "close"})
        for name in ONCE:
            if names.count(name) > 1:
                raise Problem(400, f"the header {name} stands there twice; send it once", "bad_request")
        if "content-length" in names and "transfer-encoding" in names:
            # What came behind may be another's request to a proxy that read the length (RFC 9112, 6.1).
            sentence = "there is a Content-Length beside Transfer-Encoding; send one of them"
            raise Problem(400, sentence, "bad_request", headers={"connection": "close"})

    async def _fail(self, exchange: Exchange, sender: Sender, error: Exception) -> None:
        problem = noted(error, exchange, self._metrics)
        if sender.started:
            sender.abort()  # an answer that was cut must not look like a whole one
        else:
            await sender.problem(problem)

    def _note(self, exchange: Exchange, seconds: float) -> None:
        path = exchange.route.path if exchange.route is not None else "unknown"
        self._metrics.request(path, exchange.method, exchange.status, seconds)
        # The path as its route names it: what somebody wrote into the line is no business of a log.
        notes = {"id": exchange.id, "method": exchange.method, "path": path, "status": exchange.status}
        timing = {"ms": round(seconds * 1000, 1), "gone": exchange.gone}
        access_log.log(self._level(exchange), "request", extra={"event": {**notes, **timing, **exchange.notes}})

    @staticmethod
    def _level(exchange: Exchange) -> int:
        """That it is well is no news to whoever asks every few seconds."""
        is_open = exchange.route is not None and exchange.route.access is Access.OPEN
        return logging.DEBUG if is_open and exchange.status == HTTPStatus.OK else logging.INFO


class Sender:
    """The way back to the client: headers that every answer has, and a deadline for each piece of it."""

    def __init__(self, exchange: Exchange, send: Send, limits: Limits, connection: Any) -> None:
        self._exchange = exchange
        self._send = send
        self._limits = limits
        self._connection = connection
        self.started = False

    async def message(self, message: Message) -> None:
        """Send one message of ASGI; nothing once the connection has told its client what was wrong."""
        if self._connection is not None and self._connection.refused:
            self._exchange.leave()
            return
        if message["type"] == "http.response.start":
            self.started = True
            self._exchange.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *common_headers(self._exchange)]
        if self._connection is not None and not self._connection.write_paused:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send(message)
        except TimeoutError:
            self._exchange.notes["stalled"] = True
            self._exchange.leave()
            self.abort()

    async def problem(self, problem: Problem) -> None:
        """An error as the whole answer."""
        await self.whole(problem.status, orjson.dumps(self._exchange.told(problem)), problem.headers)

    async def whole(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """An answer in one piece."""
        kind = {"content-type": "application/json"} if body else {}
        lines = {**kind, "content-length": str(len(body)), **headers}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        await self.message({"type": "http.response.start", "status": status, "headers": encoded})
        await self.message({"type": "http.response.body", "body": body})

    def abort(self) -> None:
        """Cut the connection."""
        if self._connection is not None:
            self._connection.abort()


async def nothing_more() -> Message:
    """What the inner app receives: the shell has read the body already."""
    return {"type": "http.disconnect"}


def route_of(exchange: Exchange, by_method: dict[str, Route]) -> Route:
    """The route that is meant; HEAD is GET without its body, which uvicorn leaves out."""
    route = by_method.get(route_method(exchange))
    if route is None:
        allowed = {"allow": methods_of(by_method)}
        raise Problem(405, f"{exchange.method} is not for this path; use {allowed['allow']}", "method_not_allowed",
                      headers=allowed)  # fmt: skip
    return route


def route_method(exchange: Exchange) -> str:
    return "GET" if exchange.method == "HEAD" else exchange.method


def methods_of(by_method: dict[str, Route]) -> str:
    return ", ".join([*by_method, *(["HEAD"] if "GET" in by_method else []), "OPTIONS"])


def preflight(exchange: Exchange, by_method: dict[str, Route]) -> dict[str, str]:
    """What OPTIONS is answered with; to a page also what it may send."""
    allowed = methods_of(by_method)
    if not exchange.origin:
        return {"allow": allowed}
    asked = exchange.headers.get("access-control-request-headers", "")
    return {
        "allow": allowed,
        "access-control-allow-methods": allowed,
        "access-control-allow-headers": asked if asked.isascii() and asked.isprintable() else "",
        "access-control-max-age": "600",
    }


def common_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", exchange.id.encode()), SAFE]
    if exchange.origin:
        headers += [
            (b"access-control-allow-origin", exchange.origin.encode("latin-1")),
            (b"access-control-expose-headers", b"x-request-id, retry-after"),
            (b"vary", b"origin"),
        ]
    return headers
