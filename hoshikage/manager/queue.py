"""Who waits, and who is next: fair between keys, bounded in number.

A `Line` belongs to the manager's thread; a `Gate` is asked by every thread that hands in work.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from hoshikage.errors import QueueFullError, Stopping

RETRY_MAX = 60  # seconds that a client is told to stay away at most


class Waiter(Protocol):
    """What a line needs to know of those who stand in it."""

    @property
    def key(self) -> str: ...
    @property
    def number(self) -> int: ...  # in order of arrival


W = TypeVar("W", bound=Waiter)


class Line(Generic[W]):
    """Those who wait for one model. Keys take turns; within a key, who came first goes first."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, deque[W]] = OrderedDict()
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[W]:
        """In the order in which they would be served if nobody came any more."""
        queues = [iter(queue) for queue in self._by_key.values()]
        while queues:
            left = []
            for queue in queues:
                if (waiter := next(queue, None)) is not None:
                    yield waiter
                    left.append(queue)
            queues = left

    def n_ahead_of_last(self, key: str) -> int:
        """How many are served before the last of a key."""
        n_own, before, n_ahead = len(self._by_key[key]) - 1, 1, 0
        for other, queue in self._by_key.items():
            if other == key:
                before = 0  # the keys behind it have had one turn less when its last is called
                n_ahead += n_own
            else:
                n_ahead += min(len(queue), n_own + before)
        return n_ahead

    def add(self, waiter: W) -> None:
        """Stand at the end of the key's own queue; a new key has its turn after the others."""
        self._by_key.setdefault(waiter.key, deque()).append(waiter)
        self._n += 1

    def put_back(self, waiter: W) -> None:
        """Stand at the very front again: who was called and could not be served."""
        self._by_key.setdefault(waiter.key, deque()).appendleft(waiter)
        self._by_key.move_to_end(waiter.key, last=False)
        self._n += 1

    def pop(self) -> W:
        """The next; its key stands behind the other keys then."""
        key, queue = next(iter(self._by_key.items()))
        waiter = queue.popleft()
        self._n -= 1
        if queue:
            self._by_key.move_to_end(key)
        else:
            del self._by_key[key]
        return waiter

    def remove(self, waiter: W) -> bool:
        """Leave the line; False for one who does not stand in it."""
        queue = self._by_key.get(waiter.key)
        if queue is None or waiter not in queue:
            return False
        queue.remove(waiter)
        self._n -= 1
        if not queue:
            del self._by_key[waiter.key]
        return True

    def first(self) -> W | None:
        """Who has waited longest."""
        heads = (queue[0] for queue in self._by_key.values())
        return min(heads, key=lambda waiter: waiter.number, default=None)


class Gate:
    """Lets so many wait at a time, so many of one key be there, and none once it is closed.

    Its lock is held for a few instructions only.
    """

    def __init__(self, n_waiting_max: int, n_of_key_max: int = 0) -> None:
        self.n_inside = 0  # let in, and not told their end
        self.n_waiting = 0  # of them
        self.n_refused = 0
        self.closed = False  # without the lock: set by a signal handler, too
        self._n_waiting_max = n_waiting_max
        self._n_of_key_max = n_of_key_max
        self._n_of_key: Counter[str] = Counter()
        self._seconds = 1.0  # between two who are called, lately
        self._lock = threading.Lock()

    def enter(self, key: str) -> None:
        """Raises QueueFullError or Stopping."""
        with self._lock:
            if self.closed:
                raise Stopping
            crowded = self._n_of_key_max and self._n_of_key[key] >= self._n_of_key_max
            if crowded or self.n_waiting >= self._n_waiting_max:
                self.n_refused += 1
                raise QueueFullError(self._n_of_key[key] if crowded else self.n_waiting, self._retry_after())
            self.n_waiting += 1
            self.n_inside += 1
            self._n_of_key[key] += 1

    def called(self, seconds: float | None = None) -> None:
        """One waits no more; `seconds` after the one before, if it was its turn."""
        with self._lock:
            self.n_waiting -= 1
            if seconds is not None:
                self._seconds += (min(seconds, RETRY_MAX) - self._seconds) / 8

    def ended(self, key: str) -> None:
        """One has been told its end."""
        with self._lock:
            self.n_inside -= 1
            self._n_of_key[key] -= 1
            if not self._n_of_key[key]:
                del self._n_of_key[key]

    def _retry_after(self) -> int:
        """Whole seconds until a tenth of those who wait will have been called, at the pace of late."""
        return max(1, min(RETRY_MAX, math.ceil(self._seconds * self.n_waiting / 10)))
