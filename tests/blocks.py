"""Random block decodings for property tests, and the engine's canvas for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hoshikage._block import BlockCanvas
from hoshikage.strategies import make_edits, make_rule, make_schedule
from tests.cases import ALGORITHMS, PARALLEL, RULE_OPTIONS, recipes
from tests.fake import FakeNetwork
from tests.reference import Recipe, Result
from tests.reference_block import decode_blocks

RULES = (*PARALLEL, *ALGORITHMS)
SCHEDULES = ("denoising", "adaptive", "block", "timestep")
LENGTHS = (1, 2, 4, 6, 8, 16, 32)


@dataclass(frozen=True)
class BlockCase:
    prompt: tuple[int, ...]
    mask_id: int
    n_vocab: int
    salt: int
    options: dict[str, Any]  # of decode_blocks

    def decode(self) -> Result:
        network = FakeNetwork(self.n_vocab, self.salt)
        return decode_blocks(network, self.prompt, self.mask_id, **self.options)

    def canvas(self, share: int | None = None) -> BlockCanvas:
        return make_block_canvas(self.prompt, self.mask_id, share=share, **self.options)


def make_block_canvas(
    prompt: Sequence[int],
    mask_id: int,
    *,
    max_tokens: int,
    length: int,
    sub_block: int = 0,
    stop_ids: Sequence[int] = (),
    n_top: int = 0,
    share: int | None = None,
    **options: Any,
) -> BlockCanvas:
    """A canvas that is decoded as the oracle decodes with the same options."""
    recipe = Recipe(**options)
    n = -(-(len(prompt) + max_tokens) // length) * length
    return BlockCanvas(
        prompt,
        max_tokens=max_tokens,
        grid=length,
        sub_block=sub_block,
        stop_ids=stop_ids,
        mask_id=mask_id,
        rule=make_rule(recipe.algorithm, alg_temp=recipe.alg_temp, **(recipe.rule_options or {})),
        schedule=make_schedule(recipe.schedule, eps=recipe.eps),
        edits=make_edits(
            mask_id,
            logit_bias=recipe.logit_bias,
            repetition_penalty=recipe.repetition_penalty,
            forbidden=(recipe.eos_id,) if recipe.logits_eos_inf else (),
            n_credited=n if recipe.algorithm == "credit" else 0,
        ),
        steps=recipe.steps,
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


def result_of(canvas: BlockCanvas) -> Result:
    tokens, settled_at = np.array(canvas.tokens), np.array(canvas.settled_at)
    return Result(tokens, settled_at, canvas.n_passes, np.inf, canvas.n_rows, canvas.n_warm)


@st.composite
def block_cases(
    draw: st.DrawFn, /, rules: Sequence[str] = RULES, lengths: Sequence[int] = LENGTHS, **fixed: Any
) -> BlockCase:
    """`fixed`: what is not drawn, of n_vocab, salt, mask_id and the options."""
    n_vocab = fixed.pop("n_vocab") if "n_vocab" in fixed else draw(st.integers(4, 40))
    salt = fixed.pop("salt") if "salt" in fixed else draw(st.integers(0, 2**64 - 1))
    mask_id = fixed.pop("mask_id") if "mask_id" in fixed else draw(st.integers(0, n_vocab - 1))
    length = draw(st.sampled_from(lengths))
    sub_block = draw(st.sampled_from([0, *(n for n in range(1, length + 1) if length % n == 0)]))
    token = st.integers(0, n_vocab - 1).filter(lambda t: t != mask_id)
    prompt = draw(st.lists(token, max_size=3 * min(length, 8)))
    options = draw(recipes(2 * length, n_vocab, mask_id, rules))
    options.pop("cfg_scale", None)
    options.pop("block_length", None)
    options |= {
        "schedule": draw(st.sampled_from(SCHEDULES)),
        "max_tokens": draw(st.integers(1, 3 * min(length, 16))),
        "length": length,
        "sub_block": sub_block,
        "steps": draw(st.integers(0, length + 2)),
        "stop_ids": tuple(draw(st.lists(token, max_size=1))),
    }
    options |= fixed
    numbers = RULE_OPTIONS.get(options["algorithm"], {})
    options["rule_options"] = {name: draw(values) for name, values in numbers.items() if draw(st.booleans())}
    if options["algorithm"] == "sequential":
        options.pop("alg_temp", None)
        options.pop("confidence_eos_eot_inf", None)
    return BlockCase(tuple(prompt), mask_id, n_vocab, salt, options)


@st.composite
def block_batches(draw: st.DrawFn, /, max_size: int = 4) -> list[BlockCase]:
    """Unlike requests to one model, whose blocks are of one length."""
    n_vocab, salt = draw(st.integers(4, 40)), draw(st.integers(0, 2**64 - 1))
    mask_id, shift = draw(st.integers(0, n_vocab - 1)), draw(st.booleans())
    length = draw(st.sampled_from((2, 4, 8)))
    one = block_cases(lengths=(length,), n_vocab=n_vocab, salt=salt, mask_id=mask_id, shift=shift)
    return draw(st.lists(one, min_size=2, max_size=max_size))
