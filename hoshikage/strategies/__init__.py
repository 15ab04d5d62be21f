"""What `hoshikage.strategies` holds, by name; `settings.choices` has the other spellings and the numbers.

A new paper is one module and one line in a table here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hoshikage._canvas import Ends, Form, Growth, Plan
from hoshikage._grammar import Grammar
from hoshikage.checks import Choice
from hoshikage.errors import ParameterError
from hoshikage.settings import ALGORITHMS
from hoshikage.settings import SCHEDULES as NAMES_OF_SCHEDULES
from hoshikage.strategies import (
    adablock,
    adaptive,
    credit,
    daedal,
    dream,
    edits,
    elastic,
    entropy_bounded,
    factor,
    grammar,
    hierarchical,
    in_order,
    joint_threshold,
    llada,
    plans,
    saber,
    sdar,
    threshold,
)

if TYPE_CHECKING:
    from hoshikage._core import Model, RowEdit, Rule, Schedule

RULES: Mapping[str, Callable[..., Rule]] = {
    "origin": dream.Origin,
    "entropy": dream.Entropy,
    "margin": dream.Margin,
    "random": llada.Random,
    "low_confidence": llada.LowConfidence,
    "maskgit_plus": dream.MaskgitPlus,
    "threshold": threshold.Threshold,
    "factor": factor.Factor,
    "entropy_bounded": entropy_bounded.EntropyBounded,
    "hierarchical": hierarchical.Hierarchical,
    "credit": threshold.Threshold,  # and the row edit of that name
    "saber": saber.Saber,
    "sequential": sdar.Sequential,
    "in_order": in_order.InOrder,
    "joint_threshold": joint_threshold.JointThreshold,
}
SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "timestep": dream.Timesteps,
    "block": llada.Blocks,
    "adaptive": adaptive.AsNeeded,
    "denoising": sdar.Denoising,
}

# What a pass recomputes: the options of `plans.Local`, as each paper has them.
PLANS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "prefix": {"before": 0},
    "window": {"before": 0, "window": 32, "whole": False},
    "dual": {"before": 0, "behind": 0},
    "vicinity": {"before": 16, "behind": 16, "warm_up": 4},
}

LENGTHS_SEARCHED = 4  # of a block, for its end


def make_rule(algorithm: str | int, *, alg_temp: float = 0.0, **options: Any) -> Rule:
    """The rule of an algorithm: how sure a row is, and which rows are settled. `options` are those of its class."""
    return RULES[Choice(ALGORITHMS).check("algorithm", algorithm)](order_temperature=alg_temp, **options)


def make_schedule(schedule: str | int, *, eps: float = 1e-3) -> Schedule:
    """How many rows a step settles. `eps` is where the timestep schedule's time ends."""
    name = Choice(NAMES_OF_SCHEDULES).check("schedule", schedule)
    return dream.Timesteps(eps=eps) if name == "timestep" else SCHEDULES[name]()


def make_plan(plan: str, **options: Any) -> Plan:
    """What a pass recomputes; `options` of `plans.Local` in place of the plan's own."""
    if plan not in PLANS:
        raise ParameterError("plan", f"{plan!r} is unknown", f"use one of {', '.join(PLANS)}")
    return plans.Local(**{**PLANS[plan], **options}) if options or plan != "full" else Plan()


def make_ends(delimiters: Sequence[int], *, length: int, n_masked: int, enough: float = 0.3) -> Ends:
    """Blocks that end with a delimiter, looked for in a quarter of the answer, as AdaBlock has it, but no farther than
    `LENGTHS_SEARCHED` blocks: the first pass of each block computes all of that, however long an answer may become."""
    longest = max(1, min(n_masked // 4, LENGTHS_SEARCHED * length))
    return adablock.Delimited(delimiters, length=length, longest=longest, enough=enough)


def make_gaps(gaps: Iterable[tuple[int, int, int, int]], *, expand_id: int, delete_id: int) -> elastic.Elastic:
    """Gaps of a canvas (lo, hi, least, most length) whose length the model finds, as DreamOn does."""
    return elastic.Elastic(gaps, expand_id=expand_id, delete_id=delete_id)


def make_form(model: Model, text: str) -> Form:
    """What an answer has to follow, as a grammar in GBNF; its algorithm is one that settles in order."""
    return grammar.Followed(Grammar(model, text))


def make_growth(most: int) -> Growth:
    """Up to `most` positions more, as long as the model is not sure of the end, as DAEDAL has it."""
    return daedal.Daedal(most)


def make_edits(
    mask_id: int,
    *,
    cfg_scale: float = 0.0,
    logit_bias: Mapping[int, float] | None = None,
    repetition_penalty: float = 1.0,
    forbidden: tuple[int, ...] = (),
    n_credited: int = 0,
    gaps: elastic.Elastic | None = None,
) -> list[RowEdit]:
    """What changes a row before its token is chosen, in the order in which it happens.

    `gaps`: those whose length the model finds; they keep to their limits by it. `n_credited`: the positions of a canvas
    that is decoded by the credit algorithm, and by nothing else with these.
    """
    chosen: list[RowEdit] = []
    if cfg_scale != 0.0:
        chosen.append(edits.Guidance(cfg_scale))
    if logit_bias:
        chosen.append(edits.Bias(logit_bias))
    if repetition_penalty != 1.0:
        chosen.append(edits.Repetition(repetition_penalty))
    chosen.append(edits.Forbid(mask_id, *forbidden))
    if gaps is not None:
        chosen.append(elastic.Limits(gaps))
    return [*chosen, credit.Credit(n_credited)] if n_credited else chosen
