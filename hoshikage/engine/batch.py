"""What answers that are worked on side by side may take together of a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from hoshikage.engine.answer import Answer
from hoshikage.engine.sizes import COARSE, SHORT_ROWS, cells_for


@dataclass(frozen=True, slots=True)
class SessionSize:
    """The size of a session, or of a part of it."""

    n_cells: int
    n_streams: int
    n_rows: int
    n_longest: int  # positions that one answer may have

    def holds(self, answers: Sequence[Answer]) -> bool:
        """Whether these fit in together."""
        return (
            sum(answer.n_cells for answer in answers) <= self.n_cells
            and all(answer.n_cells <= self.n_longest for answer in answers)
            and sum(answer.n_streams for answer in answers) <= self.n_streams
            and sum(answer.n_rows for answer in answers) <= self.n_rows
        )

    def __or__(self, other: SessionSize) -> SessionSize:
        """What holds either of them."""
        return SessionSize(*map(max, astuple(self), astuple(other)))


def room_for(
    answers: Sequence[Answer], n_together: int, shared_cells: int, rows_for: Callable[[int], int]
) -> SessionSize:
    """Enough for the largest alone, and for as many side by side as are worth one pass: short ones always are.

    So it is with rows: `rows_for` gives more than the longest block has. Answers grow: who becomes longer than
    `n_longest` waits until nobody is at work, so this doubles, and up to there all have the room that they may need.
    """
    n_longest = 1 << (max(COARSE, *(answer.n_cells for answer in answers)) - 1).bit_length()
    n_each = min(n_longest, max(answer.most_cells for answer in answers))
    n_rows = max(answer.n_rows for answer in answers)
    n_rows_together = max(n_rows * n_together, n_rows + SHORT_ROWS) if n_together > 1 else n_rows
    return SessionSize(
        n_cells=cells_for(n_each, n_together, shared_cells),
        n_streams=max(answer.n_streams for answer in answers) * n_together,
        n_rows=max(n_rows, rows_for(n_rows_together)),
        n_longest=n_longest,
    )
