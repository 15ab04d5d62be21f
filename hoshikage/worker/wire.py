"""Frames between a worker and its parent: four bytes of length, little endian, then a JSON object.

Nothing here knows what the frames say. Both ends read with the same bounds: what is no frame ends the conversation.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from hoshikage.checks import as_text, shown
from hoshikage.errors import HoshikageError, ParameterError

MOST = 1 << 26  # bytes of a frame: a prompt of a million tokens, many times over
DEPTH = 64  # of lists and objects in what is asked
HEAD = struct.Struct("<I")


class FrameError(Exception):
    """The other end sent what is no frame, or a frame that says nothing known."""


def frame(value: Mapping[str, Any]) -> bytes:
    """The bytes of a frame."""
    payload = orjson.dumps(value, default=plain)
    if len(payload) > MOST:
        raise FrameError(f"a frame of {len(payload)} bytes is longer than {MOST}")
    return HEAD.pack(len(payload)) + payload


def plain(value: object) -> object:
    """What JSON does not know: bytes as characters of the same numbers, an error as its name and its arguments."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, HoshikageError):
        known = type(value).__module__ == HoshikageError.__module__
        name, arguments = (type(value).__name__, value.args) if known else ("HoshikageError", (str(value),))
        return [name, [writable(part) for part in arguments]]
    raise TypeError(f"{shown(value)} has no form in a frame")


def writable(part: object) -> str | int | float:
    """An argument of an error: a path may hold bytes that no UTF-8 text can."""
    if type(part) is bool or type(part) is int or (type(part) is float and math.isfinite(part)):
        return part
    text = os.fsdecode(part) if isinstance(part, os.PathLike) else str(part)
    return text.encode(errors="replace").decode()


def fragment(name: str, value: Mapping[str, Any]) -> orjson.Fragment:
    """A part of a frame that is asked for by somebody; what no frame can hold is his mistake."""
    try:
        written = orjson.dumps(checked_json(name, value))
    except TypeError as error:  # a whole number of more than 64 bits
        raise ParameterError("ask", str(error), "ask for less at a time") from None
    if len(written) > MOST:
        raise ParameterError("ask", f"{len(written)} bytes are more than {MOST}", "ask for less at a time")
    return orjson.Fragment(written)


class Frames:
    """Bytes in as they come, frames out as they are complete."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The frames that these bytes complete; raises FrameError, and then nothing more can be read."""
        self._bytes += data
        at = 0
        while len(self._bytes) - at >= HEAD.size:
            (n,) = HEAD.unpack_from(self._bytes, at)
            if n > MOST:
                raise FrameError(f"a frame of {n} bytes is longer than {MOST}")
            if len(self._bytes) - at < HEAD.size + n:
                break
            yield parsed(self._bytes[at + HEAD.size : at + HEAD.size + n])
            at += HEAD.size + n
        del self._bytes[:at]


def parsed(payload: bytearray) -> dict[str, Any]:
    """The object in a frame."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"a frame is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise FrameError(f"a frame is no object: {shown(value)}")
    return value


def checked_json(name: str, value: Any, depth: int = DEPTH) -> Any:
    """A value that crosses unchanged: JSON has no NaN and no infinity, and would make null of them."""
    if isinstance(value, str):
        return as_text(name, value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth == 0:
        raise ParameterError(name, "lists and objects are nested too deeply", f"stay within {DEPTH} levels")
    if isinstance(value, Mapping):
        return {str(key): checked_json(name, item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if set(map(type, value)) == {int}:  # token ids: many, and nothing to look for
            return value
        return [checked_json(name, item, depth - 1) for item in value]
    raise ParameterError(name, f"{shown(value)} is no JSON value", "use text, finite numbers, lists and objects")
