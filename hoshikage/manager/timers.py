"""Things to do later, by a clock of the caller's: nothing here waits, and nothing knows what time it is.

Belongs to one thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeAlias

Action: TypeAlias = Callable[[], object]
KEPT_DEAD = 64  # cancelled timers that may lie about before the heap is made anew


class Timer:
    """One thing to do later; it can be called off until it is done."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Action) -> None:
        self.when = when
        self.action: Action | None = action


class Timers:
    """All that is to be done later, the soonest first; what is due at the same time, in the order it was asked for."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._n_dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._n_dead

    def at(self, when: float, action: Action) -> Timer:
        """Ask for something to be done."""
        timer = Timer(when, action)
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Call it off; harmless when it is done already."""
        if timer is None or timer.action is None:
            return
        timer.action = None  # what it would have touched is free to go
        self._n_dead += 1
        if self._n_dead > KEPT_DEAD and 2 * self._n_dead > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._n_dead = 0

    def next(self) -> float | None:
        """When the soonest is due; a timer that was called off wakes nobody."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
            self._n_dead -= 1
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Action]:
        """Take out what is due, one at a time: what an action asks for or calls off counts for the next."""
        while (when := self.next()) is not None and when <= now:
            timer = heapq.heappop(self._heap)[2]
            if (action := timer.action) is not None:
                timer.action = None
                yield action
