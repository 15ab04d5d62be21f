"""The events of one job on their way from the manager's threads to the event loop.

`tell` and `count` are for any thread; all else belongs to the loop. However slowly a client reads, what waits here
stays small: what one answer said while nobody looked is put together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hoshikage.manager.job import Count, nobody_counts
from hoshikage.worker.ask import Event, Said


class Inbox:
    """One job's events, in order. What its answers took is told on the loop, whether anybody reads on or not."""

    def __init__(self, on_counts: Count = nobody_counts) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_counts = on_counts
        self._arrived: deque[Callable[[], object]] = deque()
        self._scheduled = False
        self._ready: dict[object, Event] = {}  # in order; what one answer said has one place
        self._n = 0
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, event: Event) -> None:
        """Hand in an event."""
        self._hand_in(partial(self._keep, event))

    def count(self, counts: Mapping[str, float]) -> None:
        """Hand in what an answer took."""
        self._hand_in(partial(self._on_counts, counts))

    def _hand_in(self, arrival: Callable[[], object]) -> None:
        self._arrived.append(arrival)
        if not self._scheduled:
            self._scheduled = True
            with suppress(RuntimeError):  # the loop has ended, and with it whoever wanted to know
                self._loop.call_soon_threadsafe(self._collect)

    async def next(self, seconds: float | None = None) -> Event | None:
        """The next event; None when there was none for so long."""
        if not self._ready:
            await self._wait(seconds)
        if not self._ready:
            return None
        return self._ready.pop(next(iter(self._ready)))

    async def _wait(self, seconds: float | None) -> None:
        self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _collect(self) -> None:
        self._scheduled = False  # first: what is told from here on asks for another collection
        while self._arrived:
            self._arrived.popleft()()
        self._wake()

    def _keep(self, event: Event) -> None:
        self._n += 1
        place: object = ("said", event.index) if isinstance(event, Said) else self._n
        before = self._ready.get(place)
        if isinstance(event, Said) and isinstance(before, Said):
            event = joined(before, event)
        self._ready[place] = event


def joined(first: Said, then: Said) -> Said:
    """Two moments of one answer as one: all of its text, the canvas as it is now."""
    return replace(then, delta=first.delta + then.delta, tokens=first.tokens + then.tokens)
