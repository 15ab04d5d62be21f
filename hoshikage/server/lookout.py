"""How all models stand: looked at by one thread, for all who want to know."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hoshikage.manager.state import ModelState
from hoshikage.server.files import Files, in_time


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How the models stood, and when somebody began to look."""

    began: float
    states: Sequence[ModelState]


class Lookout:
    """How all models stand. Belongs to the event loop."""

    def __init__(self, files: Files, models: Callable[[], Sequence[ModelState]]) -> None:
        self._files, self._models = files, models
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
            self._last = Look(began, await self._files.begin(self._models))
        finally:
            self._looking = None
