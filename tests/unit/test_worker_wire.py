"""Frames: any bytes cut anywhere, and at each end nothing believed that was not looked at."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import errors
from hoshikage.errors import (
    ContextOverflowError,
    HoshikageError,
    MemoryExhausted,
    ModelFileError,
    ModelLoadError,
    ParameterError,
)
from hoshikage.worker import frames, wire
from hoshikage.worker.ask import Answered, Ask, Done, Failed, Said, Token
from hoshikage.worker.client import without_path
from hoshikage.worker.facts import Facts
from hoshikage.worker.frames import ERRORS, ask_frame, ask_of, error_of, event_frame, event_of, facts_of
from hoshikage.worker.lines import FLOOD, LONGEST, Lines
from hoshikage.worker.outgoing import Outgoing
from hoshikage.worker.speech import event_bytes
from hoshikage.worker.wire import HEAD, MOST, FrameError, Frames, checked_json, frame, parsed

TEXT = st.text(max_size=8)
WHOLE = st.integers(0, 2**31)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)
TOKENS = st.lists(
    st.builds(
        Token,
        id=WHOLE,
        piece=st.binary(max_size=4),
        logprob=NUMBER,
        top=st.lists(st.tuples(WHOLE, st.binary(max_size=4), NUMBER), max_size=2).map(tuple),
    ),
    max_size=3,
).map(tuple)
EVENTS = st.one_of(
    st.builds(
        Said,
        index=WHOLE,
        delta=TEXT,
        step=WHOLE,
        n_steps=WHOLE,
        in_thought=st.booleans(),
        tokens=TOKENS,
        cells=st.lists(st.none() | TEXT, max_size=3).map(tuple),
        confidence=st.lists(NUMBER, max_size=3).map(tuple),
    ),
    st.builds(
        Answered,
        index=WHOLE,
        delta=TEXT,
        text=TEXT,
        stop_reason=st.sampled_from(["stop", "length", "cancelled"]),
        counts=st.dictionaries(TEXT, NUMBER | WHOLE, max_size=3),
        seed=st.integers(-(2**63), 2**64 - 1),
        how=TEXT,
        in_thought=st.booleans(),
        warnings=st.lists(TEXT, max_size=2).map(tuple),
        tokens=TOKENS,
        prompt=TOKENS,
    ),
    st.builds(Done, value=OBJECTS),
)


def crossed(value: Any) -> Any:
    """The same after it has been bytes."""
    return parsed(bytearray(frame(value)[HEAD.size :]))


@given(st.lists(OBJECTS, max_size=5), st.data())
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(values: list[Any], data: st.DataObject) -> None:
    stream = b"".join(map(frame, values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, out = Frames(), []
    for lo, hi in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += reader.feed(stream[lo:hi])
    assert out == values


@given(st.binary(max_size=60))
def test_junk_is_no_frame_or_is_waited_for(junk: bytes) -> None:
    try:
        for value in Frames().feed(junk):
            assert isinstance(value, dict)
    except FrameError as error:
        assert str(error)


@pytest.mark.parametrize(
    "junk", [HEAD.pack(MOST + 1), HEAD.pack(2) + b"[]", HEAD.pack(1) + b"x", HEAD.pack(0), HEAD.pack(4) + b'{"a"']
)
def test_what_is_no_frame_is_said_at_once(junk: bytes) -> None:
    with pytest.raises(FrameError):
        list(Frames().feed(junk))


def test_a_frame_that_is_too_long_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 100)
    assert frame({"a": "x" * 90})
    with pytest.raises(FrameError, match="is longer than 100"):
        frame({"a": "x" * 100})


def test_an_event_that_is_too_long_is_the_askers_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 1 << 20)
    said = Said(index=0, delta="a", step=1, n_steps=2)
    told, all_fit = event_bytes(7, [said, Done(value={"text": "x" * (1 << 20)}), Done()])
    (_, before), (number, event) = map(event_of, Frames().feed(told))
    assert (
        (number, before, all_fit) == (7, said, False)
        and isinstance(event, Failed)
        and isinstance(event.error, ParameterError)
    )
    assert str(event.error) == "ask: what it comes to is longer than 1 MiB; ask for less at a time"


@given(WHOLE, EVENTS)
def test_events_cross(number: int, event: Said | Answered | Done) -> None:
    assert event_of(crossed(event_frame(number, event))) == (number, event)


@given(WHOLE, OBJECTS, st.sampled_from(["generate", "chat", "describe"]), st.sampled_from(["end", "text", "canvas"]))
def test_asks_cross(number: int, body: dict[str, Any], kind: Any, watch: Any) -> None:
    ask = Ask(kind=kind, body=body, watch=watch)
    assert ask_of(crossed(ask_frame(number, ask))["ask"]) == (number, ask)


def test_facts_cross() -> None:
    facts = Facts(
        **{field.name: {"str": "masked", "int": 3, "bool": True}[str(field.type)] for field in fields_of(Facts)}
    )
    assert facts_of(crossed({"facts": facts})["facts"]) == facts


def fields_of(kind: Any) -> tuple[Any, ...]:
    return dataclasses.fields(kind)


def an_error(kind: type[HoshikageError], truth: bool) -> HoshikageError:
    values = {"int": 3, "float": 3, "float | None": 3, "bool": truth}
    parameters = inspect.signature(kind).parameters.values()
    return kind(*(values.get(str(one.annotation), f"some {one.name}") for one in parameters))


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize("kind", ERRORS.values(), ids=list(ERRORS))
def test_errors_cross_as_what_they_are(kind: type[HoshikageError], truth: bool) -> None:
    error = an_error(kind, truth)
    _, event = event_of(crossed(event_frame(1, Failed(error=error))))
    assert isinstance(event, Failed)
    assert type(event.error) is kind
    assert (str(event.error), event.error.args) == (str(error), error.args)


def test_an_error_about_a_path_that_is_no_text_crosses() -> None:
    error = ModelFileError(os.fsdecode(b"/a/\xff.gguf"), "missing")
    assert "missing" in str(error_of(crossed({"e": error})["e"]))


def test_an_error_that_only_one_end_knows_crosses_as_its_words() -> None:
    class LocalError(HoshikageError):
        def __init__(self) -> None:
            super().__init__("it broke", "mend it")
            self.args = (object(), None, self)

    error = error_of(crossed({"e": LocalError()})["e"])
    assert (type(error), str(error)) == (HoshikageError, "it broke; mend it")


def test_every_error_of_ours_can_cross() -> None:
    ours = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HoshikageError)}
    assert set(ERRORS.values()) == ours


@pytest.mark.parametrize(
    "junk",
    [
        {}, {"id": 1}, {"id": "1", "done": {}}, {"id": 1, "done": {}, "said": {}}, {"id": True, "done": {"value": {}}},
        {"id": 1, "done": {"value": 3}}, {"id": 1, "done": {"other": {}}}, {"id": 1, "said": {"index": 0}},
        {"id": 1, "failed": {"error": ["os.system", ["ls"]]}}, {"id": 1, "failed": {"error": ["DecodeError", [[]]]}},
        {"id": 1, "failed": {"error": ["ParameterError", []]}}, {"id": 1, "failed": {"error": [[], []]}},
        {"id": 1, "failed": {"error": {}}}, {"id": 1, "failed": {"error": "DecodeError"}},
        {"id": 1, "said": {"index": 0, "delta": "", "step": 0, "n_steps": 1.5}},
        {"id": 1, "said": {"index": 0, "delta": "", "step": 0, "n_steps": 1, "cells": "ab"}},
        {"id": 1, "said": {"index": 0, "delta": "", "step": 0, "n_steps": 1, "tokens": [{"piece": "\u20ac"}]}},
    ],
)  # fmt: skip
def test_what_a_worker_must_not_say_is_refused(junk: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        event_of(junk)


@given(st.fixed_dictionaries({}, optional={"id": JSON, **dict.fromkeys(frames.EVENTS, JSON)}))
def test_any_object_is_an_event_or_refused(junk: dict[str, Any]) -> None:
    try:
        number, event = event_of(junk)
    except FrameError:
        return
    assert crossed(event_frame(number, event))


@pytest.mark.parametrize(
    "junk", [{}, {"id": 1}, {"id": 1, "kind": "exec"}, {"id": 1, "kind": "chat", "body": []}, [], 3]
)
def test_what_must_not_be_asked_is_refused(junk: Any) -> None:
    with pytest.raises(FrameError):
        ask_of(junk)


@given(JSON)
def test_what_json_knows_crosses_unchanged(value: Any) -> None:
    checked = checked_json("body", value)
    assert crossed({"value": checked})["value"] == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800", b"x", {1, 2}, object(), [1, [math.nan]]])
def test_what_json_would_change_is_refused(value: Any) -> None:
    with pytest.raises(ParameterError, match="body"):
        checked_json("body", {"a": value})


def test_what_is_nested_without_end_is_refused() -> None:
    value: Any = []
    value.append(value)
    with pytest.raises(ParameterError, match="nested too deeply"):
        checked_json("body", value)


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_lines_come_out_whole(chunks: list[bytes]) -> None:
    lines = Lines()
    out = [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.rest())
    expected = [line.decode(errors="replace").strip() for line in b"".join(chunks).split(b"\n")]
    assert out == [line for line in expected if line]


def test_a_line_without_end_is_cut() -> None:
    out = list(Lines().feed(b"x" * (10 * LONGEST + 5)))
    assert [len(line) for line in out] == [LONGEST] * 10


def test_of_a_flood_of_lines_it_is_said_how_many_they_were() -> None:
    now = 100.0
    lines = Lines(lambda: now)
    assert len(list(lines.feed(b"a\n" * (FLOOD + 7)))) == FLOOD
    now += 1
    assert list(lines.feed(b"b\n")) == ["(7 lines more)", "b"]
    assert len(list(lines.feed(b"c\n" * FLOOD))) == FLOOD - 1
    assert list(lines.rest()) == ["(1 lines more)"]


@given(st.lists(st.integers(0, 300_000), min_size=1, max_size=6))
def test_bytes_are_left_behind_and_go_later_in_order(sizes: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        outgoing = Outgoing(ours)
        for i, n in enumerate(sizes):
            left = outgoing.put(bytes([i]) * n)
        received = b""
        while left or len(received) < sum(sizes):
            received += theirs.recv(1 << 20)
            left = outgoing.push()
        assert outgoing.stuck_since is None
    assert received == b"".join(bytes([i]) * n for i, n in enumerate(sizes))


def test_nobody_waits_for_an_end_that_has_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        outgoing = Outgoing(ours)
        assert outgoing.put(b"x" * (1 << 20))
        assert outgoing.stuck_since is not None
        theirs.close()
        assert not outgoing.push()
        assert not outgoing.put(b"x")
        outgoing.finish()


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_clients_are_told_does_not_say_where_files_are(before: str, behind: str) -> None:
    path, part = "/home/hoshikage/models/x.gguf", "/home/hoshikage/models/x-00002-of-00003.gguf"
    error = without_path(MemoryExhausted(f"{before}{path}: {part} {behind}", "less"), path, "x")
    assert isinstance(error, MemoryExhausted) and "anna" not in str(error) and error.remedy == "less"
    assert error.cause == f"{before}x: {part.rpartition('/')[2]} {behind}"
    file_error = without_path(ModelLoadError(path, f"no {path}", "again"), path, "x")
    assert isinstance(file_error, ModelLoadError) and (file_error.path, file_error.cause) == (path, "no x")
    overflow = ContextOverflowError(5, 4)
    assert without_path(overflow, path, "x").args == overflow.args
    assert without_path(overflow, "", "x") is overflow
