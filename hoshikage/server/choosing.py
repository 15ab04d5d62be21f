"""Which model a request means, and what kind it is."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoshikage.errors import UnknownModelError
from hoshikage.manager.state import ModelState
from hoshikage.registry import Facts, Model, Registry
from hoshikage.registry.entry import EMBEDDED
from hoshikage.server.fields import Given
from hoshikage.server.files import Files, in_time

if TYPE_CHECKING:
    from hoshikage.server.services import Services

RECENT = 1.0  # seconds
N_KEPT = 1024
GAP_KIND = "masked"  # of models that see what stands behind the answer


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model that a request names."""

    model: Model
    facts: Facts

    @property
    def is_diffusion(self) -> bool:
        """Whether it settles tokens in any order: a masked model, or a block model inside its blocks."""
        return self.facts.kind != "causal"

    @property
    def fills_gaps(self) -> bool:
        """Whether it sees what stands behind the answer."""
        return self.facts.kind == GAP_KIND


class Choices:
    """Looks models up, and knows those of the last second.

    Looking means reading files, which can take longer than a small request does. It is the manager that decides whether
    a model is there; an old choice is only about what may be asked of its kind.
    """

    def __init__(self, files: Files, registry: Registry) -> None:
        self._files, self._registry = files, registry
        self._known: dict[str, tuple[float, Chosen]] = {}
        self._looking: dict[str, asyncio.Task[Chosen]] = {}

    async def choose(self, label: str) -> Chosen:
        """Raises UnknownModelError, or what is wrong with the model's file."""
        when, chosen = self._known.get(label, (-math.inf, None))
        if chosen is None or time.monotonic() - when > RECENT:
            if label not in self._looking:
                self._looking[label] = asyncio.create_task(self._look(label))
            chosen = await in_time(self._looking[label])
            if len(self._known) >= N_KEPT:
                self._known.clear()
            self._known[label] = (time.monotonic(), chosen)
        return chosen

    def forget(self) -> None:
        """Something has changed."""
        self._known.clear()
        self._looking.clear()  # they go on, but for those who wait already

    async def _look(self, label: str) -> Chosen:
        try:
            return await self._files.begin(self._find, label)
        finally:
            if self._looking.get(label) is asyncio.current_task():
                del self._looking[label]

    def _find(self, label: str) -> Chosen:
        model = self._registry.find(label)
        return Chosen(model, model.facts())


async def label_of(services: Services, given: Given, *, gap: bool = False) -> str:
    """The model that a request names. One without a name, or with an empty one, means that of `default_label`."""
    return given.get("model") or await default_label(services, gap=gap)


async def default_label(services: Services, *, gap: bool = False) -> str:
    """The model that somebody means who names none; of a gap, one that can fill it."""
    known = await services.lookout.now()
    states = [state for state in known if fills_gaps(state)] if gap else known
    if gap and not states:
        raise UnknownModelError("there is no model that fills gaps", "add a masked diffusion model")
    if not states:
        raise UnknownModelError("there is no model")
    return min(states, key=preference).label


def preference(state: ModelState) -> tuple[bool, bool, bool]:
    """The least comes first: what can be used, then what is in memory, then a person's own before an embedded one."""
    return not is_usable(state), state.state != "resident", is_embedded(state)


def is_usable(state: ModelState) -> bool:
    """Whether nothing is known to be wrong with it."""
    return state.error is None and state.model is not None


def is_embedded(state: ModelState) -> bool:
    return state.model is not None and state.model.origin == EMBEDDED


def fills_gaps(state: ModelState) -> bool:
    return state.facts is not None and state.facts.kind == GAP_KIND
