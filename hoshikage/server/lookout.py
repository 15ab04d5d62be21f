"""Looks at files on other threads, shared by all who want the same: a disk that hangs holds one thread, not all.

As many threads as a process has for such work would soon wait for it, and every request for one of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hoshikage.manager.state import ModelState
from hoshikage.server.problem import Problem

T = TypeVar("T")
PATIENCE = 15.0  # seconds: a disk that sleeps is awake by then


async def in_time(looking: asyncio.Task[T]) -> T:
    """What a look gives that others wait for as well. Raises Problem 503 when it hangs."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(looking)
    except TimeoutError:
        sentence = f"model files could not be looked at within {PATIENCE:g} s; see whether a disk or a mount hangs"
        raise Problem(503, sentence, "stuck", headers={"retry-after": "10"}) from None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How the models stood, and when somebody began to look."""

    began: float
    states: Sequence[ModelState]


class Lookout:
    """How all models stand. Belongs to the event loop."""

    def __init__(self, models: Callable[[], Sequence[ModelState]]) -> None:
        self._models = models
        self._last = Look(-math.inf, ())
        self._looking: asyncio.Task[None] | None = None

    async def look(self, after: float = -math.inf) -> Look:
        """A look that was begun after this moment, be it another's."""
        while self._last.began <= after:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
            await in_time(self._looking)
        return self._last

    async def now(self) -> Sequence[ModelState]:
        """How they stand from now on."""
        return (await self.look(time.monotonic())).states

    def last(self) -> Sequence[ModelState]:
        """How they stood when somebody looked."""
        return self._last.states

    async def _look(self) -> None:
        try:
            began = time.monotonic()
            self._last = Look(began, await asyncio.to_thread(self._models))
        finally:
            self._looking = None
