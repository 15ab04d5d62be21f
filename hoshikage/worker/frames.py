"""What the frames say: events, facts and errors as they cross, and the checks of the end that reads them.

    to the child     {"load": {...}}  {"ask": {"id", ...}}  {"cancel": id}
    to the parent    {"loading": 0.5}  {"loaded": facts}  {"refused": error}
                     {"id": 3, "said" | "answered" | "done" | "failed": event}  {"steps": 64}

An error is its class's name and its arguments: no more can be made of it than the classes of `hoshikage.errors`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from hoshikage import errors
from hoshikage.checks import shown
from hoshikage.errors import HoshikageError
from hoshikage.worker.ask import Answered, Ask, Done, Failed, Kind, Packed, Said, Token, Watch
from hoshikage.worker.facts import Facts
from hoshikage.worker.wire import FrameError, fragment

T = TypeVar("T")
Check = Callable[[Any], Any]
Checks = Mapping[str, Check]

ERRORS = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HoshikageError)}


def one(*types: type) -> Check:
    """A value of exactly one of these types: a bool is no number here."""

    def check(value: Any) -> Any:
        if type(value) not in types:
            raise FrameError(f"{shown(value)} is no {' or '.join(kind.__name__ for kind in types)}")
        return value

    return check


def among(*names: str) -> Check:
    """One of these words."""

    def check(value: Any) -> Any:
        if value not in names:
            raise FrameError(f"{shown(value)} is none of {', '.join(names)}")
        return value

    return check


def many_of(*types: type) -> Check:
    """A list of values of these types, as a tuple: a canvas has hundreds of them."""
    allowed = set(types)

    def check(value: Any) -> Any:
        if not set(map(type, one(list)(value))) <= allowed:
            raise FrameError(f"{shown(value)} holds more than {' or '.join(kind.__name__ for kind in types)}")
        return tuple(value)

    return check


def many(check: Check) -> Check:
    """A list of values, as a tuple."""
    return lambda value: tuple(check(item) for item in one(list)(value))


whole, text, flag, table = one(int), one(str), one(bool), one(dict)
number = one(int, float)


def raw(value: Any) -> bytes:
    """Bytes that crossed as characters."""
    try:
        return bytes(text(value).encode("latin-1"))
    except UnicodeEncodeError:
        raise FrameError(f"{shown(value)} are no bytes") from None


def alternative(value: Any) -> tuple[int, bytes, float]:
    """A token that was likely, too."""
    parts = one(list)(value)
    if len(parts) != 3:
        raise FrameError(f"{shown(value)} is no id, piece and logprob")
    return whole(parts[0]), raw(parts[1]), number(parts[2])


def made(kind: type[T], checks: Checks, value: Any) -> T:
    """A value of ours from the object that crossed."""
    given = table(value)
    for name in given:
        if name not in checks:
            raise FrameError(f"{kind.__name__} has no {shown(name)}")
    try:
        return kind(**{name: checks[name](item) for name, item in given.items()})
    except TypeError as error:
        raise FrameError(str(error)) from None


def named(check: Check) -> Check:
    """An object whose values are all of one kind."""
    return lambda value: {name: check(item) for name, item in table(value).items()}


def error_of(value: Any) -> HoshikageError:
    """An exception, made again."""
    name, arguments = parts if len(parts := one(list)(value)) == 2 else ("", None)
    if type(name) is not str or name not in ERRORS:
        raise FrameError(f"{shown(value)} is no error of ours")
    try:
        return ERRORS[name](*many(one(str, bool, int, float))(arguments))
    except TypeError as wrong:
        raise FrameError(f"{name}: {wrong}") from None


def token(value: Any) -> Token:
    """A written token."""
    return made(Token, TOKEN, value)


TOKEN: Checks = {"id": whole, "piece": raw, "logprob": number, "top": many(alternative)}
FACTS: Checks = {
    "kind": among("masked", "block", "causal"), "architecture": text, "served_as": text, "description": text,
    "n_ctx": whole, "n_ctx_train": whole, "n_vocab": whole, "n_params": whole, "n_bytes": whole,
    "has_chat_template": flag,
}  # fmt: skip
SAID: Checks = {
    "index": whole, "delta": text, "step": whole, "n_steps": whole, "in_thought": flag, "tokens": many(token),
    "cells": many_of(str, type(None)), "confidence": many_of(int, float),
}  # fmt: skip
ANSWERED: Checks = {
    "index": whole, "delta": text, "text": text, "stop_reason": among("stop", "length", "cancelled"),
    "counts": named(number), "seed": whole, "stopped_by": text, "how": text, "in_thought": flag,
    "warnings": many_of(str), "tokens": many(token), "prompt": many(token),
}  # fmt: skip
ASK: Checks = {"kind": among(*get_args(Kind)), "body": table, "watch": among(*get_args(Watch))}
EVENTS: dict[str, Callable[[Any], Said | Answered | Done | Failed]] = {
    "said": lambda value: made(Said, SAID, value),
    "answered": lambda value: made(Answered, ANSWERED, value),
    "done": lambda value: made(Done, {"value": table}, value),
    "failed": lambda value: made(Failed, {"error": error_of}, value),
}
WORDS = {Said: "said", Answered: "answered", Done: "done", Failed: "failed"}


def event_frame(number: int, event: Said | Answered | Done | Failed) -> dict[str, Any]:
    """An event of ask `number`, on its way to the parent."""
    return {"id": number, WORDS[type(event)]: event}


def event_of(frame: Mapping[str, Any]) -> tuple[int, Said | Answered | Done | Failed]:
    """The number of an ask, and what has happened to it."""
    word = next((word for word in EVENTS if word in frame), "")
    if not word or set(frame) != {"id", word}:
        raise FrameError(f"{shown(sorted(frame))} is no frame of a worker")
    return whole(frame["id"]), EVENTS[word](frame[word])


def packed(ask: Ask) -> Packed:
    """An ask ready to be handed over; raises ParameterError for a body that cannot cross."""
    return Packed(kind=ask.kind, body=fragment(ask.kind, ask.body), watch=ask.watch)


def ask_frame(number: int, ask: Ask | Packed) -> dict[str, Any]:
    """An ask on its way to the child."""
    return {"ask": {"id": number, "kind": ask.kind, "body": ask.body, "watch": ask.watch}}


def ask_of(value: Any) -> tuple[int, Ask]:
    """The number of an ask, and the ask."""
    given = dict(table(value))
    return whole(given.pop("id", None)), made(Ask, ASK, given)


def facts_of(value: Any) -> Facts:
    """What the child says of its model."""
    return made(Facts, FACTS, value)
