"""Which model a request means, and what kind it is."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

from hoshikage.registry import Facts, Model, Registry

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

    Looking means reading files, on another thread because disks can be slow: longer than a small request takes. It is
    the manager that decides whether a model is there; an old choice is only about what may be asked of its kind.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, tuple[float, Chosen]] = {}

    async def choose(self, label: str) -> Chosen:
        """Raises UnknownModelError, or what is wrong with the model's file."""
        when, chosen = self._known.get(label, (-math.inf, None))
        if chosen is None or time.monotonic() - when > RECENT:
            chosen = await asyncio.to_thread(self._find, label)
            if len(self._known) >= N_KEPT:
                self._known.clear()
            self._known[label] = (time.monotonic(), chosen)
        return chosen

    def forget(self) -> None:
        """Something has changed."""
        self._known.clear()

    def _find(self, label: str) -> Chosen:
        model = self._registry.find(label)
        return Chosen(model, model.facts())
