"""How a stream is written: what each door's clients read their pieces as. No state, any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from hoshikage.server import sse
from hoshikage.server.problem import Problem

EVENT_STREAM = b"text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The bytes of a stream's parts."""

    kind: bytes = EVENT_STREAM
    piece: Callable[[Any], bytes] = sse.event
    alive: Callable[[], bytes] = lambda: sse.ALIVE  # what no client takes for a part of the answer
    done: bytes = b""  # what stands at the end of a whole one
    failed: Callable[[Problem], Any] = lambda problem: problem.body  # the last piece of one that broke off


def named(value: Mapping[str, Any]) -> bytes:
    """An event that says its type twice, for clients that look at either."""
    return f"event: {value['type']}\n".encode() + sse.event(value)


def line(value: Any) -> bytes:
    """One line of JSON."""
    return orjson.dumps(value) + b"\n"


OPENAI = Wire(done=sse.DONE)
EVENTS = Wire()
NAMED = Wire(piece=named)
LINES = replace(EVENTS, kind=b"application/x-ndjson", piece=line, alive=lambda: b"\n")
