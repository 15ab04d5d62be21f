"""How close the oracle's decisions were: tells a genuine near-tie from a fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass
class Margin:
    """The narrowest decision so far, in units of the quantities it was taken on.

    A float32 engine errs by about 1e-7 times the largest logit (`spread`): where the margin is 1e-6 or more, a
    different token is a fault and not a rounding.
    """

    least: float = np.inf
    spread: float = 1.0

    def absolute(self, a: ArrayLike, b: ArrayLike) -> None:
        with np.errstate(invalid="ignore"):
            gaps = np.abs(np.subtract(a, b, dtype=np.float64))
        gaps = np.nan_to_num(gaps, nan=np.inf)  # inf - inf: both were cut, nothing was compared
        self.least = min(self.least, float(np.min(gaps, initial=np.inf)) / self.spread)

    def relative(self, a: float, b: float, floor: float = 1e-9) -> None:
        """`floor`: below it, 1 - a and 1 - b are too near to 1 to be told apart."""
        if a != b and np.isfinite([a, b]).all():  # equal: by decree, or of equal rows, and then so in any precision
            self.absolute(a / max(abs(a), abs(b), floor), b / max(abs(a), abs(b), floor))
