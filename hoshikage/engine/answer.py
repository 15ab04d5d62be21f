"""One prompt's way to its result: the work that a session does for it, and what is read of that work."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hoshikage.engine.prompt import Vocabulary
from hoshikage.engine.request import Request
from hoshikage.engine.result import Counts, Result, Snapshot, StopReason, Token
from hoshikage.engine.text import Piece, TextReader

# Special tokens that have a text in an answer: thoughts and calls could not be told from the rest of it without them.
TELLING = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<|tool_call_start|>", "<|tool_call_end|>",
    "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>",
)  # fmt: skip


def spoken(vocabulary: Vocabulary) -> Piece:
    """The bytes that a token adds to an answer's text."""
    marks = [vocabulary.tokenize(mark, parse_special=True) for mark in TELLING]
    telling = {ids[0] for ids in marks if len(ids) == 1}
    return cache(lambda token: vocabulary.piece(token, special=token in telling))


def stop_ids(vocabulary: Vocabulary, eog_ids: Set[int], stops: Iterable[str]) -> frozenset[int]:
    """The tokens that end an answer: the model's own, and stop strings that are a special token's name.

    Special tokens have no text, so such a string would never be met in it.
    """
    named = [vocabulary.tokenize(stop, parse_special=True) for stop in stops]
    return frozenset(eog_ids) | {ids[0] for ids in named if len(ids) == 1 and not vocabulary.piece(ids[0])}


@dataclass(slots=True, kw_only=True)
class Answer(ABC):
    """An answer in the making; what diffusion and autoregressive ones have in common."""

    index: int  # of the prompt among those of the call
    request: Request
    warnings: tuple[str, ...]
    n_prompt: int
    reader: TextReader
    piece: Piece
    work: Any  # a canvas or a stream: what a session takes in, with `done`
    started: float = field(default_factory=time.monotonic)
    in_thought: bool = False  # its prompt ends inside one

    # -- what it takes of a session

    @property
    @abstractmethod
    def n_cells(self) -> int:
        """Positions that are kept for it now."""

    @property
    @abstractmethod
    def most_cells(self) -> int:
        """Positions that it may come to need."""

    @property
    def paused(self) -> bool:
        """Whether it has left its session because it needs more positions than were kept for it."""
        return False

    @property
    @abstractmethod
    def n_streams(self) -> int:
        """Sequences."""

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Rows of logits in a pass."""

    # -- how far it is

    @property
    @abstractmethod
    def progress(self) -> tuple[int, int]:
        """Steps taken, and of how many at most."""

    @property
    @abstractmethod
    def ends_early(self) -> bool:
        """Whether its text may be complete before its work is."""

    @abstractmethod
    def read(self) -> str:
        """The text that the last steps made certain."""

    @abstractmethod
    def logprobs(self, lo: int) -> list[float]:
        """The logarithms of the probabilities of the tokens read so far, from number `lo` on."""

    @abstractmethod
    def top(self, number: int) -> list[tuple[int, float]]:
        """The likeliest tokens where token `number` of the answer stands, with their logarithms."""

    @abstractmethod
    def confidence(self) -> list[float]:
        """The probability with which each position was written; 0 where nothing is."""

    @abstractmethod
    def snapshot(self, delta: str, result: Result | None = None) -> Snapshot:
        """What a watcher sees now."""

    @abstractmethod
    def result(self, cancelled: bool) -> Result:
        """The result, once the reader has been given its last token; raises what kept it from one."""

    def told(self, lo: int) -> tuple[Token, ...]:
        """The tokens read so far, from number `lo` on, when their probabilities were asked for."""
        if self.request.logprobs is None:
            return ()
        pairs = zip(self.reader.tokens[lo:], self.logprobs(lo), strict=True)
        return tuple(
            self._token(token, logprob, self.top(number)[: self.request.logprobs])
            for number, (token, logprob) in enumerate(pairs, lo)
        )

    def told_prompt(self) -> tuple[Token, ...]:
        """The prompt's tokens, when their probabilities were asked for."""
        return ()

    def _token(self, token: int, logprob: float, top: Iterable[tuple[int, float]]) -> Token:
        others = tuple((other, self.piece(other), its_logprob) for other, its_logprob in top)
        return Token(id=token, piece=self.piece(token), logprob=logprob, top=others)

    @property
    def complete(self) -> bool:
        """Whether no further step can change the text."""
        return self.work.done or (self.reader.stopped and self.ends_early)

    def ended(self, cancelled: bool = False) -> tuple[str, Result]:
        """The text that was held until the end, and the result; raises what kept it from one."""
        return self.reader.finish(), self.result(cancelled)

    def _result(
        self,
        cancelled: bool,
        *,
        n_passes: int,
        n_rows: int,
        n_warm: int = 0,
        how: str = "",
        canvas: Sequence[int] = (),
    ) -> Result:
        # A text that has met its stop is whole, whoever cancels.
        reason: StopReason = "stop" if self.reader.stopped else "cancelled" if cancelled else "length"
        return Result(
            text=self.reader.text,
            tokens=tuple(self.reader.tokens),
            stop_reason=reason,
            stopped_by=self.reader.stopped_by,
            counts=Counts(
                n_prompt=self.n_prompt,
                n_tokens=len(self.reader.tokens),
                n_passes=n_passes,
                n_rows=n_rows,
                n_warm=n_warm,
                seconds=time.monotonic() - self.started,
            ),
            seed=self.request.seed,
            warnings=self.warnings,
            how=how,
            canvas=tuple(canvas),
            logprobs=self.told(0),
            prompt_logprobs=self.told_prompt(),
        )

    def _snapshot(self, delta: str, result: Result | None, tokens: Sequence[int | None]) -> Snapshot:
        step, n_steps = self.progress
        return Snapshot(
            index=self.index,
            delta=delta,
            step=step,
            n_steps=n_steps,
            tokens=tuple(tokens),
            pieces=tuple(None if token is None else self.piece(token) for token in tokens),
            result=result,
        )
