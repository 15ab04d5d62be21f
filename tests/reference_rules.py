"""The oracle's rules that settle as many positions as are sure enough: which of the masked ones, in the papers' words.

Each is given `order` (the rows, surest first), their x0_p and doubt, the entropies H, where they are, and k, the least
number that the schedule wants; it returns row numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.margin import Margin

SURE = 0.999
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """What a rule looks at."""

    order: Ints
    x0_p: Floats
    doubt: Floats
    entropies: Floats
    positions: Ints
    masked: NDArray[np.bool_]  # of the canvas, the withheld positions included
    k: int
    mean_conf: float  # of what was revealed so far; 2: nothing was
    margin: Margin

    def first(self, n: int) -> Ints:
        """The n surest."""
        if 0 < n < len(self.order):
            self.margin.relative(self.doubt[self.order[n - 1]], self.doubt[self.order[n]])
        return self.order[:n]


def threshold(c: Choice, *, threshold: float = 0.9) -> Ints:
    """Fast-dLLM: every c_i >= tau, always at least the top one."""
    c.margin.absolute(c.x0_p, threshold)
    return c.first(max(c.k, int(np.count_nonzero(c.x0_p >= threshold))))


def in_order(c: Choice, *, threshold: float = 0.9) -> Ints:
    """The leftmost k, and those behind them up to the first that is less sure."""
    c.margin.absolute(c.x0_p[c.k :], threshold)
    unsure = np.flatnonzero(c.x0_p[c.k :] < threshold)
    return np.arange(c.k + unsure[0] if len(unsure) else len(c.x0_p))


def joint_threshold(c: Choice, *, threshold: float = 0.5, **_of_edits: Any) -> Ints:
    """LLaDA 2.1: Gamma = {i masked: c_i > tau_mask}, the best one at least."""
    c.margin.absolute(c.x0_p, threshold)
    return c.first(max(c.k, 1, int(np.count_nonzero(c.x0_p >= threshold))))


def edited(logits: Floats, x: Ints, margin: Margin, *, edit: float = 0.0, **_of_masks: Any) -> tuple[Ints, Floats]:
    """LLaDA 2.1: Delta = {i revealed: argmax != x_i and p_i(argmax) > tau_edit}. What stands there then, and how
    probable it is where it is another token; 0 elsewhere."""
    top_two = np.sort(logits, axis=-1)[:, -2:]
    margin.spread = max(1.0, float(np.max(np.abs(logits), where=np.isfinite(logits), initial=0.0)))
    margin.absolute(top_two[:, 1], top_two[:, 0])
    best = np.argmax(logits, axis=-1)
    p = np.exp(np.max(logits, axis=-1, initial=-np.inf) - np.logaddexp.reduce(logits, axis=-1))
    if edit > 0:
        margin.absolute(p[best != x], edit)
    changed = (best != x) & (p > edit)
    return np.where(changed, best, x), np.where(changed, p, 0.0)


def factor(c: Choice, *, factor: float = 1.0) -> Ints:
    """Fast-dLLM: the largest n with (n + 1)(1 - c_(n)) <= f. (Its code differs by one where the last row ends it.)"""
    n = np.arange(1, len(c.order) + 1)
    bound = (n + 1) * (1.0 - c.x0_p[c.order])
    c.margin.absolute(bound, factor)
    return c.first(max(c.k, int(np.max(n[bound <= factor], initial=0))))


def entropy_bounded(c: Choice, *, bound: float = 0.1) -> Ints:
    """EB-Sampler: the largest prefix U with sum H - max H <= gamma. An end that is settled last is in no prefix.

    In this order the largest is the last one: we leave it out of the sum, where a float would lose the rest of it.
    """
    h = c.entropies[c.order]
    free = np.isfinite(c.doubt[c.order])
    excess = np.concatenate([[0.0], np.cumsum(h)[:-1]])
    c.margin.absolute(excess[1:], bound)
    n = int(np.count_nonzero((excess <= bound) & free))
    return c.first(max(c.k, n))


def hierarchical(c: Choice, *, threshold: float = 0.9, low: float = 0.6) -> Ints:
    """dInfer: all above tau, the best of every run of masks if above the lower bound, and the best of all."""
    c.margin.absolute(c.x0_p, threshold)
    c.margin.absolute(c.x0_p, low)
    chosen = set(c.first(c.k).tolist()) | set(np.flatnonzero(c.x0_p > threshold).tolist())
    for run in runs(c):
        best = run[int(np.argsort(c.doubt[run], kind="stable")[0])]
        for other in run:
            if other != best:
                c.margin.relative(c.doubt[best], c.doubt[other])
        if c.x0_p[best] > low:
            chosen.add(int(best))
    return np.array(sorted(chosen), dtype=np.int64)


def runs(c: Choice) -> list[Ints]:
    """The rows of every maximal run of consecutive masks."""
    cut = [i for i in range(1, len(c.positions)) if not c.masked[c.positions[i - 1] : c.positions[i]].all()]
    return np.split(np.arange(len(c.positions)), cut)


def saber(c: Choice, *, least: int = 2) -> Ints:
    """Saber: every c above the mean of what was revealed so far, or else the n best.

    A mean of nearly 1 would ask for more than there is, and compare what rounding left: we ask for .999 at most.
    """
    enough = min(c.mean_conf, SURE) if c.mean_conf <= 1.0 else 1.0
    if enough < 1.0:
        c.margin.absolute(c.x0_p, enough)
    n = int(np.count_nonzero(c.x0_p > enough))
    return c.first(min(max(n or least, c.k), len(c.order)))


def remasked(dropped: Floats, k: int, n_left: int, margin: Margin, *, least: int = 2) -> Ints:
    """Saber: the max(n/2, (k + 7)//8) revealed tokens whose confidence dropped most since they were.

    Its code may mask again all that it has just revealed, and for ever. We mask fewer than were revealed, and none once
    the block is full. Drops count in whole hundredths: many are as good as 1, and less than one is no doubt.
    """
    n = min(max(least // 2, (k + 7) // 8), k - 1) if n_left else 0
    hundredths = np.rint(100 * dropped)
    margin.absolute(np.abs(100 * dropped - hundredths), 0.5)
    back: Ints = np.argsort(-hundredths, kind="stable")[: max(n, 0)]
    return back[hundredths[back] >= 1]


RULES: dict[str, Callable[..., Any]] = {
    "threshold": threshold,
    "in_order": in_order,
    "factor": factor,
    "entropy_bounded": entropy_bounded,
    "hierarchical": hierarchical,
    "credit": threshold,
    "saber": saber,
    "joint_threshold": joint_threshold,
}


class Credit:
    """dInfer: Cr decays, the best token of each masked row gains its probability^.2, and l' = l + .7 ln(1 + Cr).

    Its matrix has a number for every token; we keep eight tokens a position, the one with the least makes room.
    """

    DECAY, EXPONENT, WEIGHT, KEPT = 0.8, 0.2, 0.7, 8

    def __init__(self) -> None:
        self.slots: dict[int, list[tuple[int, float]]] = {}

    def fuse(self, logits: Floats, positions: Ints) -> Floats:
        fused = logits.copy()
        for row, position in zip(fused, positions, strict=True):
            slots = self.slots.setdefault(int(position), [(-1, 0.0)] * self.KEPT)
            slots[:] = [(token, credit * self.DECAY) for token, credit in slots]
            best = int(np.argmax(row))
            tokens = [token for token, _ in slots]
            at = tokens.index(best) if best in tokens else int(np.argmin([credit for _, credit in slots]))
            gain = float(np.exp(row - np.logaddexp.reduce(row))[best] ** self.EXPONENT)
            slots[at] = (best, (slots[at][1] if slots[at][0] == best else 0.0) + gain)
            for token, credit in slots:
                if token >= 0:
                    row[token] += self.WEIGHT * np.log1p(credit)
        return fused
