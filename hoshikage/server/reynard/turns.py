"""So many at once; the others wait, and who came first goes first. Belongs to the event loop."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """The number may change while some wait."""

    def __init__(self, n: int) -> None:
        self.n_taken = 0
        self._n = n
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def n_waiting(self) -> int:
        return sum(not place.done() for place in self._line)

    def stand(self) -> asyncio.Future[None]:
        """A place in the line: done when its turn has come. Whoever stands has to leave."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        self._call()
        return place

    def leave(self, place: asyncio.Future[None]) -> None:
        """Give a turn back, or the place in the line."""
        if not place.done() or place.cancelled():
            place.cancel()
            return
        self.n_taken -= 1
        self._call()

    def allow(self, n: int) -> None:
        """So many from now on."""
        self._n = n
        self._call()

    def _call(self) -> None:
        while self._line and (self.n_taken < self._n or self._line[0].done()):
            place = self._line.popleft()
            if not place.done():  # otherwise it has left
                self.n_taken += 1
                place.set_result(None)
