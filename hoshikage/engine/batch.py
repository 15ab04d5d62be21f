"""What answers that are worked on side by side may take together of a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from hoshikage.engine.answer import Answer
from hoshikage.engine.sizes import SHORT_CELLS


@dataclass(frozen=True, slots=True)
class Room:
    """The size of a session, or of a part of it."""

    n_cells: int
    n_streams: int
    n_rows: int

    def holds(self, answers: Sequence[Answer]) -> bool:
        """Whether these fit in together."""
        return (
            sum(answer.n_cells for answer in answers) <= self.n_cells
            and sum(answer.n_streams for answer in answers) <= self.n_streams
            and sum(answer.n_rows for answer in answers) <= self.n_rows
        )

    def __or__(self, other: Room) -> Room:
        """What holds either of them."""
        return Room(*map(max, astuple(self), astuple(other)))


def room_for(answers: Sequence[Answer], n_together: int, shared_cells: int, rows_for: Callable[[int], int]) -> Room:
    """Enough for the largest alone, and for as many side by side as are worth one pass: short ones always are."""
    n_cells = max(answer.n_cells for answer in answers)
    n_rows = max(answer.n_rows for answer in answers)
    return Room(
        n_cells=min(n_cells * n_together, max(n_cells + SHORT_CELLS, shared_cells)),
        n_streams=max(answer.n_streams for answer in answers) * n_together,
        n_rows=max(n_rows, rows_for(n_rows * n_together)),
    )
