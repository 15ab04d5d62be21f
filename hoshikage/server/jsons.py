"""JSON in and out. What comes in is read strictly: UTF-8, no key twice, no NaN, no number or nesting without end."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import orjson

from hoshikage.checks import shown
from hoshikage.server.problem import Problem

N_VALUES = 2_000_000  # commas and opening brackets in a body: what its values take in memory is many times its bytes


def write(value: object) -> bytes:
    """The JSON of a value of ours."""
    return orjson.dumps(value)


def read_object(body: bytes, content_type: str) -> dict[str, Any]:
    """The object that a body holds; raises Problem 400 or 415."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        sentence = f"the content type {shown(media_type)} is not JSON; send `Content-Type: application/json`"
        raise Problem(415, sentence, "unsupported_media_type")
    if not body:
        raise wrong("the request has no body; send a JSON object")
    value = read(body)
    if not isinstance(value, dict):
        raise wrong(f"the body is not a JSON object but {type_of(value)}; send one with the parameters")
    return value


def read(body: bytes) -> Any:
    """orjson finds what is no JSON or no UTF-8, the reader of Python keys that stand twice."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > N_VALUES:
        raise wrong(f"the body holds more than {N_VALUES} values; send fewer")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise wrong(f"the body is not JSON: {error.msg} ({where}); correct it there") from None
    try:
        json.loads(body, object_pairs_hook=without_doubles)
    except (RecursionError, ValueError):  # the latter: a whole number of thousands of digits
        raise wrong("the body is nested too deeply, or holds an endless number; send simpler values") from None
    return value


def without_doubles(pairs: list[tuple[str, Any]]) -> None:
    """Which of two values counts is a matter of taste, and tastes differ between a proxy and a server."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        double = next(name for name, n in Counter(names).items() if n > 1)
        raise Problem(400, f"the key {shown(double)} stands twice in one object; send it once", "invalid_json")


def wrong(sentence: str) -> Problem:
    return Problem(400, sentence, "invalid_json")


def type_of(value: object) -> str:
    """What JSON calls the type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
    return "an array"
