"""One request and the way of its answer: who asks, what was sent, and whether somebody still listens."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from hoshikage.server.problem import Teller, as_openai

if TYPE_CHECKING:
    from hoshikage.server.routes import Route

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

IN_SCOPE = "hoshikage.exchange"
SAFE = (b"x-content-type-options", b"nosniff")  # every answer is what it says, whatever it looks like
ABSOLUTE = re.compile(rb"https?://([^/@]+)(/.*)?", re.IGNORECASE)  # a target that names the server as well
GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Exchange:
    """Lives as long as its request; all of it belongs to the event loop."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.raw_path = scope["raw_path"].decode("ascii", "replace")
        self.query: bytes = scope["query_string"]
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:  # of doubles the last; the shell refuses those that could matter
            self.headers[name.decode("latin-1")] = value.decode("latin-1")
        self.client: str = (scope.get("client") or ("",))[0]
        given = self.headers.get("x-request-id", "")
        self.id = given if GIVEN_ID.fullmatch(given) else new_id()
        self.route: Route | None = None
        self.told: Teller = as_openai  # how its client reads an error
        self.values: dict[str, str] = {}  # what the path holds in place of {names}
        self.body = b""
        self.subject: str | None = None  # the field of it that holds what the model reads
        self.who = self.client  # those who share it share a turn in the queue
        self.origin = ""  # of a page that may read the answer
        self.status = 0
        self.notes: dict[str, Any] = {}  # for the log: numbers and names, never what somebody wrote
        self.gone = False
        self._receive = receive
        self._when_gone: list[Callable[[], object]] = []
        self._watcher: asyncio.Task[None] | None = None

    def when_gone(self, act: Callable[[], object]) -> None:
        """Call `act` once the client has left, or now if it has."""
        if self.gone:
            act()
            return
        self._when_gone.append(act)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def leave(self) -> None:
        """The client has left, or is given up."""
        self.gone = True
        acts, self._when_gone = self._when_gone, []
        for act in acts:
            act()

    def close(self) -> None:
        """The answer is complete: nobody needs to watch any more."""
        self._when_gone = []
        if self._watcher is not None:
            self._watcher.cancel()

    async def _watch(self) -> None:
        # The body has been read, so all that is still to come is the end of the connection.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()


def in_origin_form(scope: Scope) -> Scope:
    """A request for a whole address, which every server has to take (RFC 9112, 3.2.2), as one for the path in it.

    The name in it counts, in place of the one in `Host`.
    """
    matched = ABSOLUTE.fullmatch(scope["raw_path"])
    if matched is None:
        return scope
    raw_path = matched[2] or b"/"
    headers = [*((name, value) for name, value in scope["headers"] if name != b"host"), (b"host", matched[1])]
    return {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode("ascii", "replace")), "headers": headers}


def new_id() -> str:
    """What a request is called in its answer and in the log."""
    return f"req-{secrets.token_hex(12)}"
