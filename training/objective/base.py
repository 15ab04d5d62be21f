"""The contract of an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..corpus import Batch


@dataclass(frozen=True)
class Sample:
    """inputs, targets (rows, length); the row of logits at a position is compared with targets there, times weight."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    weight: NDArray[np.float32]


class Objective(Protocol):
    causal: bool
    """Whether a position sees only what is to its left."""

    def sample(self, batch: Batch, rng: np.random.Generator) -> Sample: ...
