"""The engine as the oracle sees it: the same options, the same kind of result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hoshikage._canvas import Growth
from hoshikage._core import Canvas, Session
from hoshikage.engine.diffusion import SURE_OF_LINE
from hoshikage.strategies import make_edits, make_ends, make_plan, make_rule, make_schedule
from hoshikage.strategies.daedal import Daedal
from hoshikage.strategies.elastic import Elastic
from tests.reference import Recipe, Result

NEAR_TIE = 1e-6  # below this margin of the oracle's, float32 may decide otherwise


def make_canvas(
    tokens: Sequence[int], mask_id: int, n_top: int = 0, share: int | None = None, **options: Any
) -> Canvas:
    """A canvas that is decoded as `tests.reference.decode` decodes with the same options."""
    recipe = Recipe(**options)
    growth = growth_of(recipe)
    return Canvas(
        tokens,
        mask_id=mask_id,
        rule=make_rule(recipe.algorithm, alg_temp=recipe.alg_temp, **(recipe.rule_options or {})),
        schedule=make_schedule(recipe.schedule, eps=recipe.eps),
        ends=make_ends(
            recipe.delimiters,
            length=recipe.block_length,
            n_masked=list(tokens).count(mask_id),
            enough=recipe.end_threshold or SURE_OF_LINE[recipe.shift],
        )
        if recipe.delimiters
        else None,
        plan=make_plan(recipe.plan, **(recipe.plan_options or {})),
        edits=make_edits(
            mask_id,
            cfg_scale=recipe.cfg_scale,
            logit_bias=recipe.logit_bias,
            repetition_penalty=recipe.repetition_penalty,
            forbidden=(recipe.eos_id,) if recipe.logits_eos_inf else (),
            n_credited=len(tokens) if recipe.algorithm == "credit" else 0,
            gaps=growth if isinstance(growth, Elastic) else None,
        ),
        growth=growth,
        steps=recipe.steps,
        block_length=recipe.block_length,
        seed=recipe.seed,
        temperature=recipe.temperature,
        top_k=recipe.top_k,
        top_p=recipe.top_p,
        shift=recipe.shift,
        eos_last=recipe.confidence_eos_eot_inf,
        eos_id=recipe.eos_id,
        eot_id=recipe.eot_id,
        n_top=n_top,
        share=share,
    )


def growth_of(recipe: Recipe) -> Growth | None:
    if recipe.gaps:
        return Elastic(recipe.gaps, expand_id=recipe.expand_id, delete_id=recipe.eos_id)
    return Daedal(recipe.grow, **(recipe.grow_options or {})) if recipe.grow else None


def run_all(session: Session, canvases: Sequence[Canvas]) -> None:
    """Decode the canvases together, from the same step on."""
    for canvas in canvases:
        session.add(canvas)
    n_left = len(canvases)
    while n_left:
        n_left -= len(session.run())


def result_of(canvas: Canvas) -> Result:
    tokens, settled_at = np.array(canvas.tokens), np.array(canvas.settled_at)
    return Result(tokens, settled_at, canvas.n_passes, np.inf, canvas.n_rows, canvas.n_warm)


def facts(result: Result) -> dict[str, Any]:
    """All that an engine and the oracle have to agree on."""
    return {
        "tokens": result.tokens.tolist(),
        "settled_at": result.settled_at.tolist(),
        "n_passes": result.n_passes,
        "n_rows": result.n_rows,
        "n_warm": result.n_warm,
    }


def assert_same(engine: Result, oracle: Result) -> None:
    assert facts(engine) == facts(oracle)
