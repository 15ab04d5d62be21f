"""How a canvas is decoded: what a request leaves open is filled in, and what cannot be done becomes what can."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol, TypeVar

from hoshikage.engine.quality import BLOCK_LENGTH, WINDOW, Curve, Shape, Way, chosen_way
from hoshikage.engine.request import EPS, DenoisingRequest, DiffusionRequest
from hoshikage.errors import ParameterError

AnyDenoising = TypeVar("AnyDenoising", bound=DenoisingRequest)

SCHEDULED_STEPS = 50
IN_ORDER = ("sequential", "in_order")
SCORED_AFTER_CUT = ("maskgit_plus", "margin", "entropy")  # Dream's: top-k and top-p move their scores
RULE_OPTIONS: Mapping[str, Mapping[str, str]] = {  # the request's name for an option of a rule: the rule's own
    "threshold": {"threshold": "threshold"},
    "in_order": {"threshold": "threshold"},
    "credit": {"threshold": "threshold"},
    "hierarchical": {"threshold": "threshold", "low_threshold": "low"},
    "factor": {"factor": "factor"},
    "entropy_bounded": {"entropy_bound": "bound"},
    "saber": {"saber_least": "least"},
    "joint_threshold": {"threshold": "threshold", "edit_threshold": "edit", "most_edits": "most_edits"},
}  # those that settle as many tokens as are sure enough
PLAN_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "full": ("window",),
    "prefix": ("window", "refresh", "warm_up", "whole_refresh"),
    "window": ("window", "refresh", "warm_up", "whole_refresh"),
    "dual": ("window", "refresh", "warm_up", "whole_refresh"),
    "vicinity": ("window", "refresh", "warm_up", "whole_refresh", "margin"),
}
PATCHING = ("dual", "vicinity")
LOOKS_AT_END = "the end of an answer that grows is looked at"


def nothing_wrong() -> str | None:
    """Block passes work."""
    return None


@dataclass(frozen=True, slots=True)
class Able:
    """What a model's contexts can do; `block_fault` says why they cannot compute a block alone."""

    caches: bool = True
    block_fault: Callable[[], str | None] = nothing_wrong
    most_rows: int = 1 << 30  # of a block
    window: int = WINDOW  # masks behind a block that are enough for it
    block_length: int | None = None  # of the blocks that it is used to; None: any


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a canvas is decoded, with nothing left open."""

    algorithm: str
    schedule: str
    block_length: int
    steps: int
    plan: str = "full"
    rule_options: Mapping[str, Any] = field(default_factory=dict)
    plan_options: Mapping[str, Any] = field(default_factory=dict)
    alg_temp: float = 0.0

    def __str__(self) -> str:
        """In words, for people: "threshold, 32 at a time, window plan"."""
        numbers = {**self.rule_options, **self.plan_options}
        more = "".join(f", {name} {value}" for name, value in numbers.items())
        return f"{self.algorithm}, {self.schedule} schedule, blocks of {self.block_length}, {self.plan} plan{more}"


def recipe_of(
    request: DiffusionRequest,
    shape: Shape,
    *,
    able: Able | None = None,
    curve: Callable[[], Curve] = Curve,
    changes: Sequence[str] = (),
) -> tuple[Recipe, tuple[str, ...]]:
    """What the request says, and its quality's way where it is silent; a warning for each value that changes nothing.

    Exact: the model's own way, a step for each token. LLaDA's (rows not shifted): the surest first, in blocks. Dream's
    (shifted): least entropy, timesteps. Blocks take the steps that they need: the models' schedules share steps out
    evenly, which is too few for all but a last block that is shorter. An algorithm or a schedule named: as many steps
    as people expect of those.
    What cannot be done becomes the nearest that can, with a warning, or is refused when `strict`; so are `changes` that
    were made before.
    """
    able = able or Able()
    request, reordered = in_order(request)
    length, is_formed = request.block_length or able.block_length, request.grammar is not None
    shape = replace(shape, block_length=length, window=able.window, in_order=is_formed)
    way, missed = way_for(request, shape, able, curve)
    algorithm = request.algorithm or way.algorithm
    if shape.moves and algorithm == "credit":
        raise ParameterError("algorithm", "credit is given by place, and places move here", "use threshold")
    schedule = request.schedule or schedule_for(request, algorithm, way, shape)
    plan, replanned = plan_for(request.plan or way.plan, able, shape)
    whole = schedule == "timestep" and plan == "full"
    usual = way.block_length or able.block_length or (shape.n_masked if whole else BLOCK_LENGTH)
    block_length, changed = block_length_for(request.block_length, usual, shape, able.most_rows)
    changes = [*changes, *replanned, *changed, *reordered]
    n_blocks = -(-shape.n_masked // block_length)
    steps = request.steps or steps_for(request, schedule, shape, n_blocks)
    if steps < n_blocks:
        changes.append(f"steps {steps} became {n_blocks}: each block takes one at least")
    if request.strict and changes:
        raise ParameterError("strict", changes[0], "change the request, or leave strict out")
    recipe = Recipe(
        algorithm, schedule, block_length, max(steps, n_blocks), plan,
        {**(way.rule_options if algorithm == way.algorithm else {}), **given(request, RULE_OPTIONS.get(algorithm, {}))},
        {**dict(way.plan_options if plan == way.plan else ()), **plan_options(request, plan, shape)},
        request.alg_temp,
    )  # fmt: skip
    return recipe, (*changes, *missed, *useless(request, recipe, shape))


def way_for(request: DiffusionRequest, shape: Shape, able: Able, curve: Callable[[], Curve]) -> tuple[Way, list[str]]:
    """What is done where the request is silent, and a warning where something better cannot be done here. That is no
    change of what was asked for."""
    quality, known_curve = quality_of(request, shape), cache(curve)
    way = chosen_way(quality, shape, known_curve, able.caches, lambda: able.block_fault() is None)
    if quality != "fast" or request.plan is not None or way.plan in PATCHING:  # no other quality has such a plan
        return way, []
    best = chosen_way(quality, shape, known_curve, able.caches, lambda: True)
    if best.plan not in PATCHING:
        return way, []
    why = f"a block alone cannot be computed ({able.block_fault()})"
    return way, [f"{quality} took the {way.plan} plan, as it cannot have {best.plan}: {why}"]


def in_order(request: AnyDenoising) -> tuple[AnyDenoising, list[str]]:
    """The request as a grammar can be followed, which is from left to right, and what became of what it asks for."""
    why, changes = "a grammar is followed from left to right", []
    if request.grammar is not None and request.algorithm not in (None, *IN_ORDER):
        changes.append(f"algorithm {request.algorithm} became in_order: {why}")
        request = replace(request, algorithm="in_order")
    if request.grammar is not None and request.alg_temp > 0:
        changes.append(f"alg_temp {request.alg_temp:g} became 0: {why}")
        request = replace(request, alg_temp=0.0)
    return request, changes


def quality_of(request: DiffusionRequest, shape: Shape) -> str:
    """Who names a part of a scheduled decoding means that, and a canvas of open lengths is computed anew in every pass;
    who says nothing wants an answer soon."""
    return request.quality or ("exact" if is_scheduled(request) or shape.elastic else "balanced")


def is_scheduled(request: DiffusionRequest) -> bool:
    """Whether it names a part of a scheduled decoding."""
    return (request.steps, request.algorithm, request.schedule) != (None, None, None)


def schedule_for(request: DiffusionRequest, algorithm: str, way: Way, shape: Shape) -> str:
    """A rule that settles as many as are sure takes the steps that it needs, and so does a canvas whose length nobody
    knows, unless a number of them was asked for. An algorithm that settles as many as it is told is told by a schedule
    of so many steps where the request names either; else its steps are as many as there are tokens, one each."""
    if algorithm in RULE_OPTIONS or shape.moves:
        return "adaptive" if request.steps is None else "block"
    own = "timestep" if shape.shift else "block"
    return own if way.schedule == "adaptive" and is_scheduled(request) else way.schedule


def steps_for(request: DiffusionRequest, schedule: str, shape: Shape, n_blocks: int) -> int:
    """How many steps there are when nobody says."""
    named = request.algorithm is not None or request.schedule is not None
    if schedule == "adaptive" or not named:
        return shape.n_masked
    return max(SCHEDULED_STEPS, n_blocks)


def block_length_for(asked: int | None, usual: int, shape: Shape, most_rows: int) -> tuple[int, list[str]]:
    """How long a block is, as far as its canvas and the memory for its rows go, and what became of what was asked."""
    n = shape.n_masked
    if shape.elastic:
        if n > most_rows:
            raise ParameterError("length", f"{n} positions are decided together", f"use at most {most_rows}")
        no_effect = "block_length has no effect: where lengths are not known, all is one block"
        return n, [no_effect] if asked is not None else []
    most = min(n, most_rows)
    if asked is None or asked <= most:
        return min(asked or usual, most), []
    why = f"there are {n} positions to fill" if most == n else "rows of logits have no memory beyond that"
    return most, [f"block_length {asked} became {most}: {why}"]


def plan_for(plan: str, able: Able, shape: Shape) -> tuple[str, list[str]]:
    """The plan, or the nearest that the model's contexts can follow, and what became of it."""
    plan, changes = possible_plan(plan, able)
    if plan == "window" and shape.grows:
        return "prefix", [*changes, f"the window plan became prefix: {LOOKS_AT_END}"]
    return plan, changes


def possible_plan(plan: str, able: Able) -> tuple[str, list[str]]:
    """The same, where it does not matter what the request is."""
    if plan != "full" and not able.caches:
        return "full", [f"the {plan} plan became full: the model is loaded without a cache"]
    if plan in PATCHING and (fault := able.block_fault()) is not None:
        return "window", [f"the {plan} plan became window: a block alone cannot be computed ({fault})"]
    return plan, []


def plan_options(request: DiffusionRequest, plan: str, shape: Shape) -> dict[str, Any]:
    """What was asked for of those options that the plan has."""
    names = {"whole_refresh": "whole", "margin": "before"}
    asked = [name for name in PLAN_OPTIONS[plan] if not (name == "window" and shape.grows)]
    options = given(request, {name: names.get(name, name) for name in asked})
    return options | ({"behind": options["before"]} if "before" in options else {})


def given(request: DenoisingRequest, names: Mapping[str, str]) -> dict[str, Any]:
    """The options of the request that it has a value for, under their names elsewhere."""
    values = {other: getattr(request, name) for name, other in names.items()}
    return {name: value for name, value in values.items() if value is not None}


class Chosen(Protocol):
    """What a recipe of any kind has chosen."""

    @property
    def algorithm(self) -> str: ...
    @property
    def schedule(self) -> str: ...


def useless(request: DiffusionRequest, recipe: Recipe, shape: Shape) -> list[str]:
    """A warning for each value that changes nothing."""
    warnings = useless_rule_options(request, recipe)
    if request.most_edits is not None and recipe.algorithm == "joint_threshold":
        warnings.append("most_edits has no effect on a masked model, whose blocks are left when they are full")
    if request.block_end_threshold is not None and request.block_ends == "fixed":
        warnings.append("block_end_threshold has no effect with fixed block ends")
    if request.window is not None and shape.n_suffix:
        warnings.append("window has no effect where text follows: all of it is seen")
    if request.window is not None and shape.grows:
        warnings.append(f"window has no effect: {LOOKS_AT_END}")
    return warnings + idle_options(request, PLAN_OPTIONS, recipe.plan, f"{recipe.plan} plan")


def useless_rule_options(request: DenoisingRequest, recipe: Chosen) -> list[str]:
    """The same of what has to do with rules and schedules."""
    algorithm, schedule = recipe.algorithm, recipe.schedule
    warnings = []
    if request.steps is not None and schedule == "adaptive":
        warnings.append("steps has no effect with the adaptive schedule, which takes as many as it needs")
    if request.eps != EPS and schedule != "timestep":
        warnings.append(f"eps has no effect with the {schedule} schedule")
    if request.alg_temp > 0 and algorithm == "origin":
        warnings.append("alg_temp has no effect with the origin algorithm, which draws by itself")
    if request.alg_temp > 0 and algorithm in RULE_OPTIONS:
        warnings.append(f"alg_temp has no effect with the {algorithm} algorithm, which settles what is sure enough")
    if request.confidence_eos_eot_inf and algorithm == "origin":
        warnings.append("confidence_eos_eot_inf has no effect with the origin algorithm, which has no confidence")
    if (request.top_k or request.top_p < 1) and request.temperature == 0 and algorithm not in SCORED_AFTER_CUT:
        warnings.append("top_k and top_p have no effect at temperature 0")
    return warnings + idle_options(request, RULE_OPTIONS, algorithm, algorithm)


def idle_options(request: DenoisingRequest, table: Mapping[str, Iterable[str]], choice: str, what: str) -> list[str]:
    """A warning for each option of other choices that the request has a value for."""
    others = {name for names in table.values() for name in names} - set(table.get(choice, ()))
    return [f"{name} has no effect with {what}" for name in sorted(others) if getattr(request, name) is not None]
