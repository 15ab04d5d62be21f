"""Server-sent events, written by ourselves: every event is one line of JSON, and none is empty."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from blacksheep import Response
from blacksheep.contents import StreamedContent

DONE = b"data: [DONE]\n\n"
ALIVE = b": still here\n\n"  # a comment, which no client takes for an event
HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


def event(value: object) -> bytes:
    """One event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def stream(pieces: AsyncIterator[bytes], kind: bytes = b"text/event-stream") -> Response:
    """An answer that is written while it is made. No piece is empty: that would end it."""

    async def write() -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece

    return Response(200, list(HEADERS), StreamedContent(kind, write))
