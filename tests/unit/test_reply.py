"""From events to an answer: what is large is written on another thread, whole and streamed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from hoshikage.errors import ParameterError
from hoshikage.manager.job import Job
from hoshikage.server.files import Files
from hoshikage.server.openai.logprobs import MOST, LegacyLogprobs, check_size
from hoshikage.server.reply import LARGE, reply
from hoshikage.worker.ask import Answered, Ask, Done, Said, Token

COUNTS = {"n_prompt": 1, "n_tokens": 1}


class ThreadForm:
    """Notes on which thread it is asked to write."""

    def __init__(self) -> None:
        self.threads: dict[str, threading.Thread] = {}

    def _note(self, what: str) -> str:
        self.threads[what] = threading.current_thread()
        return what

    def opening(self) -> Iterator[Any]:
        return iter(())

    def said(self, _: Said) -> Iterator[Any]:
        yield self._note("said")

    def answered(self, _: Answered) -> Iterator[Any]:
        yield self._note("answered")

    def closing(self) -> Iterator[Any]:
        return iter(())

    def whole(self) -> Any:
        return self._note("whole")

    def single(self) -> Any:
        return self._note("single")


class Teller:
    """A manager whose model says this at once."""

    def __init__(self, *events: Any) -> None:
        self._events = events

    def submit(self, _: Job, tell: Any) -> Any:
        for event in self._events:
            tell(event)
        return SimpleNamespace(cancel=lambda: None)


async def written(form: ThreadForm, n: int, *, stream: bool, single: bool = False) -> bytes:
    tokens = tuple(Token(id=1, piece=b"a", logprob=-1.0, top=((1, b"a", -1.0),)) for _ in range(n // 2))
    end = Answered(index=0, delta="", text="", stop_reason="stop", counts=COUNTS, seed=0, tokens=tokens)
    said = Said(index=0, delta="a", step=0, n_steps=1, tokens=tokens)
    events = (said, end, Done()) if stream and not single else (end, Done())
    silent = SimpleNamespace(stage=lambda *_: None, first_text=lambda *_: None, answer=lambda *_: None)
    services: Any = SimpleNamespace(
        manager=Teller(*events), files=Files(), metrics=silent, rates=None,
        limits=SimpleNamespace(quiet_seconds=60.0),
    )  # fmt: skip
    exchange: Any = SimpleNamespace(notes={}, who="", gone=False, when_gone=lambda _: None)
    job = Job(model="a", ask=Ask(kind="chat"))
    response = await reply(services, exchange, job, form, stream=stream, single=single)
    content: Any = response.content
    return b"".join([part async for part in content.get_parts()]) if stream else content.body


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ({"stream": False}, {"answered", "whole"}),
        ({"stream": True}, {"said", "answered"}),
        ({"stream": True, "single": True}, {"answered", "single"}),
    ],
)
def test_an_answer_with_many_probabilities_is_written_apart(how: dict[str, bool], parts: set[str]) -> None:
    for n, apart in ((LARGE, False), (LARGE + 2, True)):
        form = ThreadForm()
        assert asyncio.run(written(form, n, **how))  # type: ignore[arg-type]
        assert form.threads.keys() == parts
        assert all((thread is not threading.main_thread()) == apart for thread in form.threads.values())


def test_more_probabilities_than_anybody_reads_are_refused() -> None:
    check_size({"max_tokens": 16_000, "logprobs": 20}, 3, 1 << 20)
    check_size({"max_tokens": 1 << 20, "logprobs": 20}, 8, 4096)  # the context holds no more
    check_size({"max_tokens": 1 << 20}, 128, 1 << 20)
    check_size({"logprobs": 20}, 128, 1 << 20)
    check_size({"max_tokens": MOST, "logprobs": 0}, 1, 1 << 20)
    with pytest.raises(ParameterError, match="fewer tokens, answers or alternatives"):
        check_size({"max_tokens": 16_000, "logprobs": 20}, 4, 1 << 20)


@pytest.mark.parametrize(
    ("pieces", "offsets"),
    [
        ([b"\xc3", b"\xa9", b"a"], [0, 0, 1]),
        ([b"a", "\U0001f600".encode()[:2], "\U0001f600".encode()[2:] + b"b", b"", b"c"], [0, 1, 1, 3, 3]),
        ([b"\xc3", b"a", b"\xff", b"b"], [0, 1, 2, 3]),  # what is no character is told as one
    ],
)
def test_offsets_are_those_of_the_text_however_its_characters_are_cut(pieces: list[bytes], offsets: list[int]) -> None:
    tokens: Any = [SimpleNamespace(piece=piece, logprob=0.0, top=()) for piece in pieces]
    assert LegacyLogprobs().take(tokens)["text_offset"] == offsets
    bit_by_bit = LegacyLogprobs()
    assert [bit_by_bit.take([token])["text_offset"] for token in tokens] == [[offset] for offset in offsets]
