"""The oracle's canvases that change their length: DreamOn's gaps and DAEDAL's answers, in the words of their code.

A growth says after each pass whether something may be revealed, and after each reveal what becomes of the canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.margin import Margin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Canvas:
    """The papers' x and what goes with each of its positions, and the region [lo, hi) that was masked."""

    x: Ints
    settled_at: Ints
    conf: Floats
    prompt_index: NDArray[np.bool_]
    mask_id: int
    lo: int
    hi: int
    grown: bool = False  # since the last pass

    @classmethod
    def of(cls, tokens: ArrayLike, mask_id: int) -> Canvas:
        x = np.array(tokens, dtype=np.int64)
        masked = np.flatnonzero(x == mask_id)
        lo, hi = (int(masked[0]), int(masked[-1]) + 1) if len(masked) else (0, 0)
        return cls(x, np.where(x == mask_id, -2, -1), np.zeros(len(x)), x != mask_id, mask_id, lo, hi)

    @property
    def masked(self) -> NDArray[np.bool_]:
        return self.settled_at == -2

    def write(self, where: Ints, x0: Ints, step: int, conf: Floats) -> None:
        self.x[where], self.settled_at[where], self.conf[where] = x0, step, conf

    def mask(self, where: Ints | int) -> None:
        self.x[where], self.settled_at[where], self.conf[where] = self.mask_id, -2, 0.0

    def insert(self, at: int, n: int) -> None:
        self.x = np.insert(self.x, at, [self.mask_id] * n)
        self.settled_at = np.insert(self.settled_at, at, [-2] * n)
        self.conf = np.insert(self.conf, at, [0.0] * n)
        self.prompt_index = np.insert(self.prompt_index, at, [False] * n)
        self.hi += n
        self.grown = True

    def delete(self, at: int) -> None:
        self.x, self.settled_at = np.delete(self.x, at), np.delete(self.settled_at, at)
        self.conf, self.prompt_index = np.delete(self.conf, at), np.delete(self.prompt_index, at)
        self.hi -= 1
        self.grown = True


@dataclass
class Growth:
    """None at all: the canvas stays as it is."""

    most = 0  # positions that it may add
    n_tail = 0  # rows at the end of what is seen that it looks at

    def forbid(self, logits: Floats, positions: Ints) -> None:
        """Takes out what would make a gap longer or shorter than it may be."""

    def looks(self, canvas: Canvas, tail: Floats, margin: Margin) -> bool:  # noqa: ARG002
        """Whether a step may reveal something; the tail has no rows where the pass did not compute them."""
        return True

    def after(self, canvas: Canvas, masked: Ints, c: Floats, margin: Margin) -> None:
        """What becomes of the canvas; `masked` rows were looked at, with the probabilities c of what they propose."""


@dataclass
class Gap:
    lo: int
    hi: int
    least: int
    most: int
    budget: int = -1

    def __post_init__(self) -> None:
        self.budget = self.most  # DreamOn: the expand budget is max_gen_len

    @property
    def is_full(self) -> bool:
        return self.hi - self.lo >= self.most or self.budget == 0


@dataclass
class DreamOn(Growth):
    """generation_utils.py of DreamOn, with several gaps where it has one, each of a least length, where it has none."""

    gaps: list[Gap]
    expand_id: int
    eos_id: int

    def __post_init__(self) -> None:
        self.most = sum(gap.most - (gap.hi - gap.lo) for gap in self.gaps)

    def forbid(self, logits: Floats, positions: Ints) -> None:
        for row, position in zip(logits, positions, strict=True):
            for gap in self.gaps:
                if gap.lo <= position < gap.hi:
                    # Its code writes -1e9.
                    row[self.expand_id] = -np.inf if gap.is_full else row[self.expand_id]
                    row[self.eos_id] = -np.inf if gap.hi - gap.lo <= gap.least else row[self.eos_id]

    def after(self, canvas: Canvas, masked: Ints, c: Floats, margin: Margin) -> None:  # noqa: ARG002
        for k, gap in enumerate(self.gaps):
            before = gap.hi
            # Every mask at or after the first EOS becomes EOS; every EOS is deleted.
            first = np.flatnonzero(canvas.x[gap.lo : gap.hi] == self.eos_id)
            if len(first):
                inside = np.arange(gap.lo + first[0], gap.hi)
                ends = inside[(canvas.x[inside] == self.eos_id) | (canvas.settled_at[inside] == -2)]
                for i in reversed(ends.tolist()):
                    if gap.hi - gap.lo > gap.least:
                        canvas.delete(i)
                        gap.hi -= 1
                    elif canvas.settled_at[i] != -2:
                        canvas.mask(i)
            # Every <expand> becomes two masks, from right to left.
            for i in reversed((gap.lo + np.flatnonzero(canvas.x[gap.lo : gap.hi] == self.expand_id)).tolist()):
                canvas.mask(i)
                if not gap.is_full:
                    canvas.insert(i + 1, 1)
                    gap.hi += 1
                    gap.budget -= 1
            for other in self.gaps[k + 1 :]:
                other.lo += gap.hi - before
                other.hi += gap.hi - before


@dataclass
class Daedal(Growth):
    """DAEDAL: phase 1 lengthens the canvas before anything is revealed, phase 2 at what the model knows nothing of.

    Its EOS confidence is the mean of p(EOS) at the canvas's end; of EOS and of the end of a turn, for us. (The code
    counts only positions whose argmax is EOS, and looks for 32 of them.) Between the phases the code writes 16 EOS
    behind the masks; we write no token that the model did not choose. Its block grows with the masks that it is given;
    ours has always as many positions, and what is pushed out comes in the next.
    """

    room: int
    eos_id: int
    eot_id: int
    stride: int = 8
    n_tail: int = 32
    begun: bool = False
    eos_confidence: float = 0.0

    def __post_init__(self) -> None:
        self.most = self.room

    def looks(self, canvas: Canvas, tail: Floats, margin: Margin) -> bool:
        if len(tail):
            p = np.exp(tail - np.logaddexp.reduce(tail, axis=-1)[:, None])
            self.eos_confidence = float(np.mean(p[:, self.eos_id] + p[:, self.eot_id]))
        margin.spread = 1.0
        if not self.begun:
            margin.absolute(self.eos_confidence, 0.5)
        if self.begun or self.eos_confidence >= 0.5 or self.room == 0:
            self.begun = True
            return True
        self._add(canvas, canvas.hi, self.stride)
        return False

    def after(self, canvas: Canvas, masked: Ints, c: Floats, margin: Margin) -> None:
        margin.spread = 1.0
        margin.absolute(self.eos_confidence, 0.9)
        still = canvas.settled_at[masked] == -2
        if self.eos_confidence >= 0.9 or not still.any():
            return
        left = np.where(still, c, np.inf)
        worst = int(np.argmin(left))
        margin.absolute(left[worst], 0.1)
        if left[worst] < 0.1:
            for other in np.delete(left, worst):
                margin.relative(float(left[worst]), float(other))
            self._add(canvas, int(masked[worst]) + 1, self.stride - 1)

    def _add(self, canvas: Canvas, at: int, n: int) -> None:
        n = min(n, self.room)
        if n:
            canvas.insert(at, n)
            self.room -= n


def make_growth(recipe: Any) -> Growth:
    """What the recipe says of lengths."""
    if recipe.gaps:
        return DreamOn([Gap(*gap) for gap in recipe.gaps], recipe.expand_id, recipe.eos_id)
    if recipe.grow:
        return Daedal(recipe.grow, recipe.eos_id, recipe.eot_id, **(recipe.grow_options or {}))
    return Growth()
