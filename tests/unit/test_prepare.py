"""What a worker makes of an ask before it is at work: nothing that is of no use, for others wait as well."""

from __future__ import annotations

from typing import Any

import pytest

from hoshikage._board import Board
from hoshikage.engine.engine import Engine
from hoshikage.errors import Cancelled, ContextOverflowError
from hoshikage.settings import Settings
from hoshikage.worker.ask import Ask
from hoshikage.worker.fake import FakeSpeaker
from hoshikage.worker.prepare import LONG, answers_for, value_of


class Reader(FakeSpeaker):
    """Notes what it tokenizes; whoever asked leaves while it reads a text with `first` in it."""

    def __init__(self) -> None:
        super().__init__(salt=5)
        self.longest = self.n_read = 0
        self.board = Board()

    def tokenize(self, text: str, **how: Any) -> list[int]:
        self.longest = max(self.longest, len(text))
        if "first" in text:
            self.n_read += 1
            self.board.cancel()
        return super().tokenize(text, **how)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def engine_of(reader: Reader) -> Engine:
    return Engine(reader, Settings(n_threads=1, n_ctx=512))


@pytest.mark.parametrize(
    ("kind", "body"),
    [("tokenize", {"text": "x" * (LONG + 1)}), ("template", {"messages": said("x" * (LONG + 1))})],
)
def test_what_no_context_holds_is_not_read(reader: Reader, kind: Any, body: dict[str, Any]) -> None:
    engine = engine_of(reader)
    with pytest.raises(ContextOverflowError):
        value_of(engine, Ask(kind=kind, body=body))
    assert reader.longest < LONG


@pytest.mark.parametrize(
    ("kind", "body"),
    [("tokenize", {"text": "first", "pieces": True}), ("template", {"messages": said("first")})],
)
def test_nothing_is_made_for_who_has_left(reader: Reader, kind: Any, body: dict[str, Any]) -> None:
    engine = engine_of(reader)
    assert value_of(engine, Ask(kind=kind, body=body))["ids"], "without a board nobody leaves"
    with pytest.raises(Cancelled):
        value_of(engine, Ask(kind=kind, body=body), reader.board)


def test_prompts_of_who_has_left_are_not_read(reader: Reader) -> None:
    ask = Ask(kind="generate", body={"prompts": ["the first", "another first"]})
    with pytest.raises(Cancelled):
        answers_for(engine_of(reader), ask, reader.board)
    assert reader.n_read == 1
