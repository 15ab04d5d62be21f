"""So many at once; the others wait: keys take turns, in each who came first goes first. Belongs to the event loop."""

from __future__ import annotations

import asyncio
import itertools

from hoshikage.manager.queue import Gate, Line


class Place:
    """Of one who stands in the line, or is at work."""

    def __init__(self, key: str, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.number = number  # in order of arrival
        self.arrived = loop.time()
        self.turn: asyncio.Future[None] = loop.create_future()  # done when it has come, cancelled when it was given up


class Turns:
    """The number may change while some wait; `gate` says how many may stand here."""

    def __init__(self, n: int, gate: Gate) -> None:
        self.n_taken = 0
        self._n = n
        self._gate = gate
        self._line: Line[Place] = Line()
        self._numbers = itertools.count()
        self._called_at = 0.0

    @property
    def n_waiting(self) -> int:
        return len(self._line)

    def stand(self, key: str) -> Place:
        """A place in the line; whoever has one has to leave. Raises QueueFullError."""
        self._gate.enter(key)
        place = Place(key, next(self._numbers))
        self._line.add(place)
        self._call()
        return place

    def give_up(self, place: Place) -> None:
        """Wait no more; whoever is at work stays."""
        if self._line.remove(place):
            place.turn.cancel()
            self._gate.called()
            self._gate.ended(place.key)

    def leave(self, place: Place) -> None:
        """Give a turn back, or the place in the line."""
        self.give_up(place)
        if not place.turn.cancelled():
            self.n_taken -= 1
            self._gate.ended(place.key)
            self._call()

    def allow(self, n: int) -> None:
        """So many from now on."""
        self._n = n
        self._call()

    def _call(self) -> None:
        while self._line and self.n_taken < self._n:
            place, now = self._line.pop(), asyncio.get_running_loop().time()
            self._gate.called(now - max(self._called_at, place.arrived))
            self._called_at = now
            self.n_taken += 1
            place.turn.set_result(None)
