"""Answers worked on side by side in one session: who is let in, who has ended, what is told of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hoshikage._board import Board
from hoshikage.engine.answer import Answer
from hoshikage.engine.result import Snapshot
from hoshikage.errors import Cancelled

STEPS = 64  # in one call when nobody looks: between two calls Python hears signals


class Worker(Protocol):
    """A session: it takes work in, and lets go by itself of what it has finished."""

    def add(self, work: Any, /) -> None: ...
    def remove(self, work: Any, /) -> None: ...
    def run(self, board: Board, max_steps: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Room:
    """What the answers that are worked on side by side may take together."""

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


def room_for(answers: Sequence[Answer], n_side_by_side: int, shared_cells: int, rows_for: Callable[[int], int]) -> Room:
    """Enough for the largest alone, and for as many side by side as are worth one pass."""
    n_together = min(n_side_by_side, len(answers))
    n_cells = max(answer.n_cells for answer in answers)
    n_rows = max(answer.n_rows for answer in answers)
    return Room(
        n_cells=min(n_cells * n_together, max(n_cells, shared_cells)),
        n_streams=max(answer.n_streams for answer in answers) * n_together,
        n_rows=max(n_rows, rows_for(n_rows * n_together)),
    )


def work_through(
    session: Worker, answers: Sequence[Answer], room: Room, board: Board, watched: bool
) -> Iterator[Snapshot]:
    """Bring all answers to their end; snapshots of each step when watched, otherwise of each answer's end."""
    waiting = deque(answers)
    working: list[Answer] = []
    # A text that may end early is looked at after every step, so that the same request takes the same passes.
    max_steps = 1 if watched or any(answer.ends_early for answer in answers) else STEPS
    try:
        while waiting or working:
            while waiting and room.holds([*working, waiting[0]]):
                session.add(waiting[0].work)
                working.append(waiting.popleft())
            session.run(board, max_steps)
            for answer in list(working):
                delta = answer.read()
                if answer.complete:
                    leave(session, working, answer)
                    yield answer.ended(delta)
                elif watched:
                    yield answer.snapshot(delta)
    except Cancelled:
        for answer in [*working, *waiting]:
            yield answer.ended(answer.read(), cancelled=True)
    finally:
        for answer in list(working):
            leave(session, working, answer)


def leave(session: Worker, working: list[Answer], answer: Answer) -> None:
    """Take an answer out; the session has let go of finished work by itself."""
    working.remove(answer)
    if not answer.work.done:
        session.remove(answer.work)
