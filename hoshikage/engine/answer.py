"""One prompt's way to its result: what is read of it, and what it took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hoshikage.engine.prompt import Vocabulary
from hoshikage.engine.request import Request
from hoshikage.engine.result import Counts, Result, Snapshot, StopReason
from hoshikage.engine.text import Piece, TextReader

if TYPE_CHECKING:
    from hoshikage._board import Board


def stop_ids(vocabulary: Vocabulary, eog_ids: Set[int], stops: Iterable[str]) -> frozenset[int]:
    """The tokens that end an answer: the model's own, and stop strings that are a special token's name.

    Special tokens have no text, so such a string would never be met in it.
    """
    named = [vocabulary.tokenize(stop, parse_special=True) for stop in stops]
    return frozenset(eog_ids) | {ids[0] for ids in named if len(ids) == 1 and not vocabulary.piece(ids[0])}


@dataclass(slots=True, kw_only=True)
class Answer:
    """What diffusion and autoregressive answers have in common."""

    index: int  # of the prompt among those of the call
    request: Request
    warnings: tuple[str, ...]
    n_prompt: int
    reader: TextReader
    piece: Piece
    started: float = field(default_factory=time.monotonic)

    def reason(self, cancelled: bool) -> StopReason:
        """Why it ends now. A text that has met its stop is whole, whoever cancels."""
        if self.reader.stopped:
            return "stop"
        return "cancelled" if cancelled else "length"

    def result(self, *, n_passes: int, n_rows: int, cancelled: bool, canvas: Sequence[int] = ()) -> Result:
        """The result, once the reader has been given its last token."""
        return Result(
            text=self.reader.text,
            tokens=tuple(self.reader.tokens),
            stop_reason=self.reason(cancelled),
            counts=Counts(
                n_prompt=self.n_prompt,
                n_tokens=len(self.reader.tokens),
                n_passes=n_passes,
                n_rows=n_rows,
                seconds=time.monotonic() - self.started,
            ),
            seed=self.request.seed,
            warnings=self.warnings,
            canvas=tuple(canvas),
        )

    def snapshot(
        self, delta: str, *, step: int, n_steps: int, tokens: Sequence[int | None], result: Result | None = None
    ) -> Snapshot:
        """What a watcher sees now."""
        return Snapshot(
            index=self.index,
            delta=delta,
            step=step,
            n_steps=n_steps,
            tokens=tuple(tokens),
            pieces=tuple(None if token is None else self.piece(token) for token in tokens),
            result=result,
        )


class Way(Protocol):
    """How a kind of model answers: prompts one by one made ready, then worked on side by side."""

    def prepare(self, index: int, ids: Sequence[int], options: Mapping[str, object]) -> Answer: ...
    def run(self, answers: Sequence[Any], board: Board, watched: bool) -> Iterator[Snapshot]: ...
