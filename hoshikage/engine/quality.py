"""exact, balanced, fast: which way of decoding, from what a pass costs on this machine and how long the request is.

The choice is a function of these and of nothing else: the same request decodes the same way today and tomorrow, once
what a pass costs is certain. Costs are compared, not predicted; so it does not matter that attention is left out of
them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BLOCK_LENGTH = 32  # LLaDA's and Fast-dLLM's usual one
LENGTHS = (BLOCK_LENGTH, BLOCK_LENGTH // 2)
WINDOW = 32  # masks behind the block that are enough for it to know that the text goes on
NARROWER = 4  # times, in fast: nano-llada is 18 times as fast as exact by that, not 15, and 2 points behind, not 0.4
EXPECTED = 100  # tokens that an answer has, as far as one can say beforehand
TOKENS_PER_PASS = 4.0  # that a threshold of .9 settles in a whole block: papers have 3 to 8
REFRESH = 4  # passes of a block after which all is computed again, where that is worth it
WORTH_IT = 1.1  # a way that is less exact has to be so many times cheaper
CURVE_ROWS = (1, 8, 16, 32, 64, 128)
FREE = 4  # times the largest size that was measured: no pass of more rows costs nothing for them
# Fast-dLLM's .9 lost nano-llada 2.8 points of a hundred where .95 lost 0.8, at an eighth less speed.
RULES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "balanced": ("threshold", {"threshold": 0.95}),
    "fast": ("hierarchical", {}),
}
RULES_IN_ORDER: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "balanced": ("in_order", {"threshold": 0.95}),
    "fast": ("in_order", {"threshold": 0.9}),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request is, before it is decoded."""

    n_masked: int
    n_prompt: int = 0
    n_suffix: int = 0
    shift: bool = False
    moves: bool = False  # positions may come and go
    elastic: bool = False  # as in gaps whose length the model finds
    in_order: bool = False  # settled from left to right
    block_length: int | None = None  # where it is not left open
    window: int = WINDOW

    @property
    def grows(self) -> bool:
        """Whether the model says how long the whole text is to be."""
        return self.moves and not self.elastic

    @property
    def n(self) -> int:
        """The whole canvas."""
        return self.n_prompt + self.n_masked + self.n_suffix


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds that a pass over so many rows takes, on one machine with one model."""

    rows: Sequence[int] = CURVE_ROWS
    seconds: Sequence[float] = CURVE_ROWS  # unmeasured: in proportion

    def __call__(self, n_rows: float) -> float:
        """As measured, and between two measured sizes, as beyond the last, on a straight line. A GPU that waits for
        its memory shows no rise at all; so from FREE times the last size on a pass costs in proportion to its rows."""
        most, whole = self.rows[-1], self.seconds[-1]
        if n_rows >= most:
            return max(whole + self._rise(len(self.rows) - 1) * (n_rows - most), whole * n_rows / (FREE * most))
        at = max(bisect_right(self.rows, n_rows) - 1, 0)
        return self.seconds[at] + self._rise(at) * (n_rows - self.rows[at])

    def _rise(self, at: int) -> float:
        """What each row more costs, from measured size number `at` on to the next.

        Where that one takes less, another kernel begins there (ggml's attention does so at 64 rows): up to it rows go
        on costing what they did. Behind the last, they cost what they did before it, or are in proportion.
        """
        steps = zip(self.rows, self.rows[1:], self.seconds, self.seconds[1:], strict=False)
        rises = [(after - before) / (more - fewer) for fewer, more, before, after in steps]
        if at == len(rises):
            return rises[-1] if rises[-1] >= 0 else self.seconds[-1] / self.rows[-1]
        return rises[at] if rises[at] >= 0 or at == 0 else max(rises[at - 1], 0.0)


@dataclass(frozen=True, slots=True)
class Way:
    """What a quality stands for where the request says nothing."""

    algorithm: str
    schedule: str
    block_length: int | None = None
    plan: str = "full"
    plan_options: Mapping[str, Any] = field(default_factory=dict)
    rule_options: Mapping[str, Any] = field(default_factory=dict)

    def seconds(self, shape: Shape, curve: Curve) -> float:
        """What an answer of the expected length costs: the first pass of each block, the others, and those of them that
        are refreshed."""
        block = min(self.block_length or BLOCK_LENGTH, shape.n_masked)
        n_expected = min(shape.n_masked, EXPECTED)
        n_masked = n_expected if shape.grows else shape.n_masked  # a canvas that grows has no more than it needs
        window = self.plan_options.get("window", n_masked)
        # Where text follows, all is filled, and all is seen.
        n_blocks = -(-(shape.n_masked if shape.n_suffix else n_expected) // block)
        n_others = max(block / tokens_per_pass(block) - 1, 0)
        refresh = self.plan_options.get("refresh", 0)
        n_warm = n_others / refresh if refresh else 0.0
        is_partial = self.plan == "window" or not self.plan_options.get("whole", True)
        total = 0.0
        for b in range(n_blocks):
            end = shape.n if shape.n_suffix else shape.n_prompt + min(n_masked, (b + 1) * block + window)
            behind = end - shape.n_prompt - b * block
            first = behind + block if b > 0 and is_partial else end
            others = self._rows_of_others(block, behind, end)
            total += curve(first) * (1 + n_warm) + curve(others) * (n_others - n_warm)
        return total

    def _rows_of_others(self, block: int, behind: int, everything: int) -> int:
        return {"full": everything, "dual": block}.get(self.plan, behind)


def tokens_per_pass(block: int) -> float:
    """What a threshold of .9 settles: papers have about 4 in a block of 32, and a fifth less in one of half of that."""
    return min(TOKENS_PER_PASS * min(1.0, 0.65 + 0.35 * block / BLOCK_LENGTH), float(block))


def ways(quality: str, shape: Shape) -> list[Way]:
    """From the most exact to the least: what is cached less comes first, then what is refreshed more often, then long
    blocks, of which fewer are begun."""
    algorithm, rule_options = (RULES_IN_ORDER if shape.in_order else RULES)[quality]
    lengths = (shape.block_length,) if shape.block_length else LENGTHS
    seen = -(-shape.window // NARROWER) if quality == "fast" else shape.window
    window = {"window": seen}
    lazy = {"whole": False, **(window if shape.n_masked > lengths[0] + seen else {})}
    plans: list[tuple[str, dict[str, Any]]] = [("full", {}), ("prefix", {}), ("window", window)]
    if shape.grows:  # how long it has to be is seen at its end
        plans, lazy = plans[:-1], {"whole": False}
    if quality == "fast":
        plans += [("dual", lazy | {"refresh": REFRESH}), ("dual", lazy)]
    return [
        Way(algorithm, "adaptive", length, plan, options, rule_options) for plan, options in plans for length in lengths
    ]


def chosen_way(
    quality: str, shape: Shape, curve: Callable[[], Curve], caches: bool, patches: Callable[[], bool]
) -> Way:
    """The most exact of a quality's ways that no other is much cheaper than. What takes time to know is asked last."""
    if quality == "exact" and shape.in_order:
        return Way("sequential", "adaptive")
    if quality == "exact":
        whole = shape.shift and shape.block_length is None
        return Way("entropy" if shape.shift else "low_confidence", "timestep" if whole else "adaptive")
    possible = [way for way in ways(quality, shape) if (caches or way.plan == "full")]
    possible = [way for way in possible if way.plan != "dual" or patches()]
    price = curve() if caches else Curve()  # without a cache there is nothing to measure, and little to choose
    costs = [way.seconds(shape, price) for way in possible]
    return next(way for way, cost in zip(possible, costs, strict=True) if cost <= WORTH_IT * min(costs))
