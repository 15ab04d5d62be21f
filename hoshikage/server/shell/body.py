"""Reads a request's body: no more than the limit, no longer than the deadline, and nothing that is too large at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from hoshikage.server.problem import Problem
from hoshikage.server.shell.exchange import Exchange, Receive
from hoshikage.server.shell.limits import Limits

SHORT = 1 << 16  # bytes


class ClientLeft(Exception):  # noqa: N818 -- it happens, and is nobody's mistake
    """The client went away before its request was complete."""


class Room:
    """Memory for the bodies of all requests that are at work, counted as they arrive. One client leaves others some."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.n_taken = 0
        self._n_of: Counter[str] = Counter()

    def take(self, who: str, n_bytes: int) -> None:
        """As many more; fewer, where it is negative."""
        self.n_taken += n_bytes
        self._n_of[who] += n_bytes
        if not self._n_of[who]:
            del self._n_of[who]

    def is_full_for(self, who: str) -> bool:
        """Whether all that may be there is taken, or what one client may take of it."""
        most = self.limits.all_bodies_bytes
        return self.n_taken > most or self._n_of[who] > most - most // 8


class Share:
    """What one request takes of it, for as long as it is at work: what was read of it stays until then."""

    def __init__(self, room: Room, who: str) -> None:
        self._room = room
        self._who = who
        self._n_taken = 0

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.take(self._who, -self._n_taken)

    def take(self, n_bytes: int) -> None:
        """Raises Problem 413 for a body that is too long, 429 where others hold too much. A short one finds room."""
        self._n_taken += n_bytes
        self._room.take(self._who, n_bytes)
        if self._n_taken > self._room.limits.body_bytes:
            raise too_large(self._room.limits)
        if self._n_taken > SHORT and self._room.is_full_for(self._who):
            sentence = "the server holds as many long requests as it may, or as may be yours; send this one again soon"
            raise Problem(429, sentence, "too_many_requests", headers={"retry-after": "1", "connection": "close"})


def check_announced(exchange: Exchange, limits: Limits) -> None:
    """Raises Problem 413 for a body that says itself that it is too long."""
    length = exchange.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.body_bytes:
        # A client that waits for leave to send may take the answer for the end of its request.
        raise too_large(limits, {"connection": "close"} if "expect" in exchange.headers else {})


async def read_body(receive: Receive, limits: Limits, share: Share) -> bytes:
    """The whole body; raises Problem 408 when it is too slow, and what `take` raises."""
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _whole(receive, share)
    except TimeoutError:
        cause = f"the body did not arrive within {limits.body_seconds:g} s"
        raise Problem(408, f"{cause}; send it faster", "request_timeout", headers={"connection": "close"}) from None


async def _whole(receive: Receive, share: Share) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        share.take(len(part))
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def too_large(limits: Limits, headers: Mapping[str, str] | None = None) -> Problem:
    sentence = f"the body is larger than {limits.body_bytes} bytes; send less"
    return Problem(413, sentence, "request_too_large", headers=headers)
