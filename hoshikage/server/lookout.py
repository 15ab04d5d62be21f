"""One look at all models for everybody who watches them: it reads files, and watchers look again and again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hoshikage.manager.state import ModelState


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How the models stood, and when somebody began to look."""

    began: float
    states: Sequence[ModelState]


class Lookout:
    """Belongs to the event loop."""

    def __init__(self, models: Callable[[], Sequence[ModelState]]) -> None:
        self._models = models
        self._last = Look(-math.inf, ())
        self._looking: asyncio.Task[None] | None = None

    async def look(self, after: float = -math.inf) -> Look:
        """A look that was begun after this moment, be it another's."""
        while self._last.began <= after:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
            await asyncio.shield(self._looking)  # others wait for it as well
        return self._last

    async def _look(self) -> None:
        try:
            began = time.monotonic()
            self._last = Look(began, await asyncio.to_thread(self._models))
        finally:
            self._looking = None
