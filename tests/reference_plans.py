"""The oracle's caches: what a pass recomputes, in the words of Fast-dLLM, dInfer and DPad.

A pass forwards the positions [lo, hi) of a canvas that is seen up to `end`; the keys and values of all others are those
of the pass that computed them last. Fast-dLLM's block_start and block_end are s and e here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tests.reference_growth import Canvas

ALL = 10**6


class Network(Protocol):
    """float[streams, n, vocab] of int[streams, n]; without a span it computes, and keeps, the whole canvas."""

    def __call__(self, canvases: NDArray[Any], lo: int, hi: int, end: int, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Plan:
    before: int = ALL  # between warm passes: so many positions before the block
    behind: int = ALL  # and behind it
    window: int = ALL  # masks that are seen behind the block
    warm_up: int = 1  # passes at the start that compute everything
    refresh: int = 0  # every n-th pass of a block is warm as well; 0: only its first
    whole: bool = True  # a warm pass computes everything, or only the block before and what follows it


PLANS = {
    "full": Plan(),
    "prefix": Plan(before=0),
    "window": Plan(before=0, window=32, whole=False),
    "dual": Plan(before=0, behind=0),
    "vicinity": Plan(before=16, behind=16, warm_up=4),
}


class Passes:
    """The passes of one canvas, and what their number and order make of the next."""

    def __init__(self, forward: Any, plan: Plan, canvas: Canvas, shift: bool) -> None:
        self.forward, self.plan, self.shift = forward, plan, int(shift)
        self.measure(canvas)
        self.n_passes = self.n_rows = self.n_warm = 0
        self.cached = 0  # [0, cached) is in the cache
        self.s = self.last_s = -1
        self.only_ends = self.warm = False

    def measure(self, canvas: Canvas) -> None:
        self.masks_end, self.n = canvas.hi, len(canvas.x)
        self.given_end = int(np.max(np.flatnonzero(canvas.prompt_index), initial=-1)) + 1

    def moved(self, canvas: Canvas, e: int) -> None:
        """The block ends elsewhere now; and where positions came or went, nothing is cached any more."""
        self.e = e
        if canvas.grown:
            self.measure(canvas)
            self.cached, canvas.grown = 0, False

    def enter(self, s: int, e: int) -> None:
        """A block with masks begins. The first has no block before it but itself."""
        self.last_s, self.s, self.e = (s if self.s < 0 else self.s), s, e
        self.of_block = 0

    def span(self) -> tuple[int, int, int]:
        plan = self.plan
        end = max(min(self.e + plan.window, self.masks_end), self.given_end)
        due = self.n_passes < plan.warm_up or self.of_block == 0 or self.only_ends or self.cached == 0
        due = due or (plan.refresh > 0 and self.since_warm >= plan.refresh)
        if not due:
            # Dream: row s - 1 predicts position s, so it is one of those recomputed.
            lo, hi = max(0, self.s - max(plan.before, self.shift)), min(self.e + plan.behind, end)
        elif plan.whole or self.n_passes < plan.warm_up:
            lo, hi = 0, end
        else:
            # The tokens that a block ended with were revealed after its last pass: their keys and values are still
            # those of masks. (Fast-dLLM recomputes everything here.)
            lo, hi = min(max(0, self.last_s - self.shift), self.cached), end
        self.warm = due or (lo, hi) == (0, end)
        return lo, hi, end

    def run(self, canvases: NDArray[Any]) -> NDArray[Any]:
        """One pass over all streams; float64[streams, n, vocab]."""
        lo, hi, end = self.span()
        logits = self.forward(canvases) if (lo, hi, end) == (0, self.n, self.n) else self.forward(canvases, lo, hi, end)
        self.n_passes += 1
        self.of_block += 1
        self.n_rows += len(canvases) * (hi - lo)
        self.n_warm += self.warm
        self.since_warm = 1 if self.warm else self.since_warm + 1
        self.cached = end
        self.computed = lo, hi, end
        self.rows = np.array(logits, dtype=np.float64)
        return self.rows

    def tail(self, n: int) -> NDArray[np.float64]:
        """The last n rows of what the pass saw of the masked region; none where it did not compute them."""
        _, hi, seen = self.computed
        row_lo = max(self.s - self.shift, 0)
        end = max(min(self.masks_end, seen) - self.shift, row_lo + 1)
        return self.rows[0, max(end - n, row_lo) : end] if n and end <= hi else self.rows[0, :0]
