"""One connection: uvicorn's h11 protocol, with what it does not bound.

h11 and not httptools, because h11 refuses a header beyond its buffer, two lengths, a length beside chunks and
other ways to smuggle, where httptools takes a header of 50 MB. Everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
import http
import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from hoshikage.server.metrics import Metrics
from hoshikage.server.problem import Problem
from hoshikage.server.shell.exchange import SAFE, Receive, Scope, Send, new_id
from hoshikage.server.shell.limits import Limits

IN_SCOPE = "hoshikage.connection"
LINGER = 2.0  # seconds in which a refused client may read why
GLANCE = 0.5  # seconds after which an answer has been taken, unless somebody is slow
MOST_AHEAD = 1 << 16  # bytes of later requests that a client may send while it waits
access_log = logging.getLogger("hoshikage.access")


class Connection(H11Protocol):
    """A header has a deadline, connections have a number, and errors are JSON."""

    def __init__(self, limits: Limits, metrics: Metrics, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._metrics = metrics
        self._deadline: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self.refused = False  # it has been answered, and nothing else may be written
        self.since = time.monotonic()  # of the last request's end, or of the connection
        app: Any = self.app

        async def known_to_the_app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[IN_SCOPE] = self
            await app(scope, receive, send)

        self.app: Any = known_to_the_app

    # -- what the shell may ask

    @property
    def write_paused(self) -> bool:
        """Whether the client takes its answer slower than it is written."""
        return self.flow.write_paused

    def abort(self) -> None:
        """End it at once; what was not sent is lost."""
        self.transport.abort()

    # -- the protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.n_connections:
            self._make_room()
        if not self.refused:  # until its first byte it is as idle as between two requests: uvicorn's timer, and its end
            self.timeout_keep_alive_task = self.loop.call_later(
                self._limits.idle_seconds, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        super().data_received(data)
        if not self._at_work() and not self.transport.is_closing():
            self._expect_header()

    def handle_events(self) -> None:
        super().handle_events()
        if self._at_work():
            self._expect_nothing()
            self._hear_on()

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        was_refused = self.conn.their_state is h11.SEND_BODY
        most_to_come = self._announced() if was_refused else 0
        super().on_response_complete()  # it begins with a request that was sent ahead
        if was_refused and not self.transport.is_closing():
            if most_to_come > MOST_AHEAD:
                self._leave()  # the rest of its body is nobody's work
            else:  # uvicorn drops it: who sends little and late may go on with this connection
                self._expect_header()
        self._look_again(GLANCE, self._expect_reader)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- the sentence is ours
        """h11 refuses what came: called in its `except`, so the reason is at hand."""
        reason = sys.exc_info()[1]
        status = getattr(reason, "error_status_hint", 400)
        if status == 431:
            sentence = f"the header is larger than {self._limits.header_bytes} bytes; send less of it"
        else:
            status, sentence = 400, "this is not HTTP/1.1 as it should be; use another client"
        self._refuse(Problem(status, sentence, "bad_request"))

    # -- its own

    def _announced(self) -> float:
        """Bytes that the body of this request has; of one in chunks nobody knows."""
        lengths = [value for name, value in self.scope["headers"] if name == b"content-length"]
        return int(lengths[0]) if lengths else math.inf

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _hear_on(self) -> None:
        """uvicorn stops reading when a later request arrives early; then it would not hear of its client's leaving."""
        if self.conn.their_state is h11.DONE:
            if len(self.conn.trailing_data[0]) > MOST_AHEAD:
                self.abort()
            else:
                self.flow.resume_reading()

    def _expect_reader(self) -> None:
        """A whole answer has been written: as long as its client takes some of it, it has time for the rest."""
        n_left = self.transport.get_write_buffer_size()
        if n_left and not self._at_work():  # the next answer has a deadline for each of its pieces
            self._look_again(self._limits.send_seconds, self._check_reader, n_left)

    def _check_reader(self, n_left: int) -> None:
        if self.transport.get_write_buffer_size() >= n_left and not self._at_work():
            self.abort()
        else:
            self._expect_reader()

    def _look_again(self, seconds: float, look: Callable[..., None], *known: int) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
        self._reader_timer = self.loop.call_later(seconds, look, *known)

    def _expect_header(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.header_seconds, self._header_late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _header_late(self) -> None:
        self._deadline = None
        sentence = f"the header did not arrive within {self._limits.header_seconds:g} s; send it faster"
        self._refuse(Problem(408, sentence, "request_timeout"))

    def _make_room(self) -> None:
        """Close the connection that has been idle longest; where all are at work, this one."""
        others: list[Any] = [other for other in self.connections if other is not self]
        idle = [other for other in others if not other._at_work()]
        if idle:
            min(idle, key=lambda other: other.since).abort()
        else:
            sentence = "every connection is at work; try again soon"
            self._refuse(Problem(503, sentence, "too_many_requests", headers={"retry-after": "1"}))

    def _refuse(self, problem: Problem) -> None:
        """Answer without the app, and close."""
        if self.transport.is_closing() or self.refused:
            return
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.abort()  # in the middle of an answer, which cannot become another one
            return
        name = new_id()
        body = orjson.dumps(problem.body)
        lines = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        lines |= {"x-request-id": name, **problem.headers}
        headers = [*((key.encode(), value.encode()) for key, value in lines.items()), SAFE]
        reason = http.HTTPStatus(problem.status).phrase.encode()
        answer = h11.Response(status_code=problem.status, headers=headers, reason=reason)
        events = (answer, h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self._leave()
        if self._at_work():  # what came was a body that is none: nobody waits for another answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._note(name, problem)

    def _leave(self) -> None:
        """Write no more and read no more, and let the client read what was written.

        Closing while something unread lies here would reset the connection, and it would never see why.
        """
        self.refused = True
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.abort)

    def _note(self, name: str, problem: Problem) -> None:
        """What the shell notes of every other request."""
        self._metrics.error(problem.code)
        self._metrics.request("unknown", "other", problem.status, time.monotonic() - self.since)
        notes = {"id": name, "path": "unknown", "status": problem.status, "error": problem.code}
        access_log.info("request", extra={"event": notes})


def connections(limits: Limits, metrics: Metrics) -> Callable[..., Connection]:
    """What uvicorn calls for each new connection."""

    def made(*arguments: Any, **options: Any) -> Connection:
        return Connection(limits, metrics, *arguments, **options)

    return made
