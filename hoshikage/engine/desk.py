"""The desk: answers worked on side by side in one session, which come and go between steps. One thread.

Owners take turns, and among equals who comes first is let in first. One that does not fit beside those at work waits
for room; meanwhile others may be let in before it, but only so often. From then on it is *due*, so that nobody waits
for ever: only those may pass it that leave it the room it needs once those at work by then have gone, as short ones do.
For one that is larger than the session a larger one is opened, as soon as nobody is at work. An answer that has come to
need more room than was kept for it waits at the head of the queue, behind others like it, and goes on from where it
was.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import takewhile
from operator import itemgetter
from typing import Any, Protocol

from hoshikage._board import Board
from hoshikage.engine.answer import Answer
from hoshikage.engine.batch import SessionSize
from hoshikage.engine.result import Result, Snapshot
from hoshikage.errors import Cancelled, HoshikageError, MemoryExhausted

STEPS = 64  # at most in one call when nobody looks
SECONDS = 0.1  # about as long as such a call should take: between two of them signals and newcomers are heard
OVERTAKEN = 16  # times that a waiting answer lets later ones pass, whatever room they take
TROUBLE = (HoshikageError, MemoryError)  # of one request; anything else is a mistake of ours
LOOKED_AT = 32  # waiting answers that may be let in before the first


class Session(Protocol):
    """It takes work in, and lets go by itself of what it has finished."""

    def add(self, work: Any, /) -> None: ...
    def remove(self, work: Any, /) -> None: ...
    def run(self, board: Board, max_steps: int) -> Any: ...
    def __contains__(self, work: Any, /) -> bool: ...


class Way(Protocol):
    """How a kind of model answers: what a desk needs of it."""

    def room(self, answers: Sequence[Answer], n_together: int) -> SessionSize:
        """A session's size for these, so many of them side by side."""

    def open(self, room: SessionSize) -> Session:
        """A session of at least this size."""


@dataclass(slots=True, eq=False)
class Place:
    """An answer at the desk, and on whose behalf it is there."""

    answer: Answer
    watched: bool
    owner: object
    n_overtaken: int = 0
    guests: list[Place] = field(default_factory=list)  # let in past it since it was due, for there is room for all


@dataclass(frozen=True, slots=True)
class News:
    """What a step brought to an answer: text, its result, or its failure."""

    answer: Answer
    owner: object
    delta: str = ""
    result: Result | None = None
    error: HoshikageError | None = None

    def snapshot(self) -> Snapshot:
        """What a watcher sees now; raises the failure."""
        if self.error is not None:
            raise self.error
        return self.answer.snapshot(self.delta, self.result)


@dataclass(slots=True)
class Pace:
    """How many steps a call takes when nobody looks."""

    n_steps: int = 1

    def took(self, seconds: float) -> None:
        """A call took so long."""
        if seconds > SECONDS:
            self.n_steps = max(1, self.n_steps // 2)
        elif seconds < SECONDS / 2:
            self.n_steps = min(STEPS, self.n_steps * 2)


@dataclass(slots=True)
class Desk:
    """`n_seq` answers at most are worked on at a time, and a session is opened for `n_expected` of them at least.

    `gate` is held during each call of the session.
    """

    way: Way
    n_seq: int
    n_expected: int = 1
    gate: AbstractContextManager[Any] = field(default_factory=nullcontext)
    _waiting: deque[Place] = field(default_factory=deque, init=False)
    _working: list[Place] = field(default_factory=list, init=False)
    _due: list[Place] = field(default_factory=list, init=False)  # of the waiting, since when each of them is
    _room: SessionSize | None = field(default=None, init=False)
    _session: Any = field(default=None, init=False)
    _pace: Pace = field(default_factory=Pace, init=False)

    @property
    def busy(self) -> bool:
        """Whether there is something to do."""
        return bool(self._working or self._waiting)

    def join(self, answer: Answer, *, watched: bool = False, owner: object = None) -> None:
        """Take an answer on. There is news of a watched one after each step, of others when they end."""
        self._waiting.append(Place(answer, watched, owner))

    def leave(self, owner: object = None) -> list[News]:
        """End the answers of an owner with what is there."""
        leaving = [place for place in [*self._working, *self._waiting] if place.owner is owner]
        for place in leaving:
            self._let_go(place)
        return [ended(place, place.answer.read(), cancelled=True) for place in leaving]

    def clear(self) -> None:
        """Drop all that is there."""
        for place in [*self._working, *self._waiting]:
            self._let_go(place)

    def step(self, board: Board) -> list[News]:
        """Let in who has room, and take a step or a few.

        Raises Cancelled when the board says so; all stay where they were, and the next call goes on.
        """
        refused = self._admit()
        if refused or not self._working:
            return refused
        try:
            self._run(board, self._n_steps())
        except Cancelled:
            raise
        except HoshikageError as error:
            return self._blame(error) + self._look()
        return self._look()

    # -- coming

    def _admit(self) -> list[News]:
        """Let in who has room; news of those that no room can be made for."""
        if not self._waiting or len(self._working) == self.n_seq:
            return []
        refused: list[News] = []
        passed: list[Place] = []
        turns = self._turns()
        if not self._working:
            refused += self._make_room(turns[0])
        for place in turns[len(refused) :]:
            if len(self._working) == self.n_seq:
                break
            if self._may_come(place):
                refused += self._let_in(place)
                self._overtake(passed)
            else:
                passed.append(place)
        return refused

    def _overtake(self, passed: Sequence[Place]) -> None:
        """Somebody was let in before these."""
        for place in passed:
            place.n_overtaken += 1
            if place.n_overtaken >= OVERTAKEN and place not in self._due:
                self._due.append(place)

    def _turns(self) -> list[Place]:
        """The next of those that wait: who is due, who was at work already, then whose owner has fewest before it."""
        before = Counter(id(place.owner) for place in self._working)
        turns = []
        for number, place in enumerate(self._waiting):
            turns.append((not place.answer.paused, before[id(place.owner)], number, place))
            before[id(place.owner)] += 1
        others = (turn for turn in turns if turn[-1] not in self._due)
        return [*self._due, *(place for *_, place in nsmallest(LOOKED_AT, others, key=itemgetter(0, 1, 2)))]

    def _may_come(self, place: Place) -> bool:
        """Whether it fits beside those at work, and nobody who is due waits any longer because of it."""
        return self._fits(place) and all(
            self._hold([due, *self._guests(due), place]) for due in self._due_before(place)
        )

    def _due_before(self, place: Place) -> list[Place]:
        """Those that it may not delay. Who was at work and needs more room goes on, whoever is due: those that wait for
        its end would only wait longer."""
        if place.answer.paused:
            return []
        return [*takewhile(lambda due: due is not place, self._due)]

    def _guests(self, due: Place) -> list[Place]:
        """Those of its guests that are here still: one that waits for more room will have to find it, too."""
        return [guest for guest in due.guests if guest in self._working or guest in self._waiting]

    def _fits(self, place: Place) -> bool:
        return self._hold([*self._working, place])

    def _hold(self, places: Sequence[Place]) -> bool:
        """Whether the session has room for these together."""
        fits_session = self._room is not None and self._room.holds([place.answer for place in places])
        return fits_session and len(places) <= self.n_seq

    def _let_in(self, place: Place) -> list[News]:
        due_before = self._due_before(place)
        self._wait_no_more(place)
        try:
            self._session.add(place.answer.work)
        except TROUBLE as error:
            return [failed(place, error)]
        for due in due_before:
            due.guests = [*self._guests(due), place]
        self._working.append(place)
        return []

    def _wait_no_more(self, place: Place) -> None:
        self._waiting.remove(place)
        place.guests = []
        if place in self._due:
            self._due.remove(place)

    def _make_room(self, first: Place) -> list[News]:
        """A session that holds all that are here as well, or with less memory the first alone."""
        if self._fits(first):
            return []
        answers = [place.answer for place in self._waiting]
        wanted = self.way.room(answers, min(self.n_seq, max(self.n_expected, len(answers))))
        problem: Exception = HoshikageError("there is no room")
        for room in (wanted if self._room is None else wanted | self._room, self.way.room([first.answer], 1)):
            try:
                self._open(room)
            except TROUBLE as error:
                problem = error
            else:
                return []
        self._wait_no_more(first)
        return [failed(first, problem)]

    def _open(self, room: SessionSize) -> None:
        self._session = self._room = None
        self._session = self.way.open(room)
        self._room = room

    # -- working

    def _n_steps(self) -> int:
        # A text that may end early is looked at after every step, so that the same request takes the same passes.
        looked_at = any(place.watched or place.answer.ends_early for place in self._working)
        return 1 if looked_at else self._pace.n_steps

    def _run(self, board: Board, n_steps: int) -> None:
        start = time.monotonic()
        with self.gate:
            self._session.run(board, n_steps)
        self._pace.took(time.monotonic() - start)

    def _blame(self, error: HoshikageError) -> list[News]:
        """After a pass that failed for all: each gets a step alone, and who fails again is who made it fail."""
        places, self._working = self._working, []
        for place in places:
            self._session.remove(place.answer.work)
        news = [failed(places[0], error)] if len(places) == 1 else [*map(self._tried, places)]
        to_blame = {id(item.answer) for item in news if item is not None}
        self._working = [place for place in places if id(place.answer) not in to_blame]
        for place in self._working:
            if may_go_on(place):
                self._session.add(place.answer.work)
        return [item for item in news if item is not None]

    def _tried(self, place: Place) -> News | None:
        """A step of one alone, with a board of its own: this is over soon, and no cancel may end it half-way."""
        work = place.answer.work
        if not may_go_on(place):  # it has come so far in a pass before the one that failed
            return None
        self._session.add(work)
        try:
            self._run(Board(), 1)
        except HoshikageError as error:
            return failed(place, error)
        finally:
            if work in self._session:
                self._session.remove(work)
        return None

    def _look(self) -> list[News]:
        """What has come of everyone's work."""
        news = []
        for place in list(self._working):
            delta = place.answer.read()
            if place.answer.complete:
                self._let_go(place)
                news.append(ended(place, delta))
                continue
            if place.answer.paused:
                self._working.remove(place)
                self._waiting.insert(sum(other.answer.paused for other in self._waiting), place)
            if place.watched:
                news.append(News(place.answer, place.owner, delta))
        return news

    def _let_go(self, place: Place) -> None:
        """Take one out; a call that ended well has let go of finished work by itself."""
        if place not in self._working:
            self._wait_no_more(place)
            return
        self._working.remove(place)
        if place.answer.work in self._session:
            self._session.remove(place.answer.work)


def may_go_on(place: Place) -> bool:
    """Whether its work is neither finished nor in need of more room."""
    return not place.answer.work.done and not place.answer.paused


def ended(place: Place, delta: str, cancelled: bool = False) -> News:
    """The last news of an answer."""
    try:
        rest, result = place.answer.ended(cancelled)
    except HoshikageError as error:
        return failed(place, error)
    return News(place.answer, place.owner, delta + rest, result)


def failed(place: Place, error: Exception) -> News:
    """The last news of an answer that there is no result of."""
    if not isinstance(error, HoshikageError):
        error = MemoryExhausted("no memory was left for it")
    return News(place.answer, place.owner, error=error)
