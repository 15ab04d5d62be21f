"""On tiny models the engine settles what the oracle settles when it is given the engine's logits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hoshikage._core import Model, Session
from tests.cases import ALGORITHMS, SCHEDULES
from tests.conftest import TinyModel
from tests.engine import NEAR_TIE, assert_same, make_canvas, result_of, run_all
from tests.reference import Result, decode
from tests.tiny import DIFFUSION

FLOAT32: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": "off"}
HALF: dict[str, Any] = {"type_k": "f16", "type_v": "f16", "flash_attn": "on"}
# Of the largest logit: what 16-bit keys and values can move. A decision narrower than this may fall either way there.
HALF_ROUNDING = 1e-3

Request = tuple[list[int], dict[str, Any]]  # tokens and the oracle's options


def requests_for(model: Model) -> list[Request]:
    """Every algorithm under both schedules, with prompts, answers and the other options in all sizes."""
    dice = random.Random(model.architecture)
    requests = []
    for algorithm in ALGORITHMS:
        for schedule in SCHEDULES:
            prompt, suffix = (
                [dice.randrange(290) for _ in range(dice.choice(sizes))] for sizes in ((1, 5, 12), (0, 0, 5))
            )
            options = {
                "algorithm": algorithm,
                "schedule": schedule,
                "steps": dice.randrange(1, 12),
                "block_length": dice.choice((0, 8, 32)),
                "temperature": dice.choice((0.0, 0.7)),
                "top_p": dice.choice((1.0, 0.9)),
                "cfg_scale": dice.choice((0.0, 1.0)),
                "alg_temp": dice.choice((0.0, 0.3)),
                "repetition_penalty": dice.choice((1.0, 1.2)),
                "seed": dice.getrandbits(64),
                "shift": model.shift,
                "eos_id": model.eos_id,
                "eot_id": model.eot_id,
                "confidence_eos_eot_inf": dice.random() < 0.3,
            }
            requests.append((prompt + [model.mask_id] * dice.randrange(4, 80) + suffix, options))
    return requests


def oracle_results(model: Model, requests: Sequence[Request], **options: Any) -> list[Result]:
    with Session(model, n_ctx=256, n_threads=1, **options) as session:

        def engine_logits(canvases: NDArray[Any]) -> NDArray[np.float32]:
            return np.concatenate([session.logits(canvas) for canvas in canvases])

        return [decode(engine_logits, tokens, model.mask_id, **recipe) for tokens, recipe in requests]


def engine_results(
    model: Model, requests: Sequence[Request], n_together: int, n_threads: int, **options: Any
) -> list[Result]:
    results = []
    for first in range(0, len(requests), n_together):
        batch = requests[first : first + n_together]
        canvases = [make_canvas(tokens, model.mask_id, **recipe) for tokens, recipe in batch]
        with Session(model, n_ctx=1024, n_seq=2 * n_together, n_threads=n_threads, **options) as session:
            run_all(session, canvases)
        results += [result_of(canvas) for canvas in canvases]
    return results


@pytest.mark.parametrize("retag", [True, False], ids=["cached", "native"])
@pytest.mark.parametrize("architecture", DIFFUSION)
def test_tokens_equal_the_oracles(architecture: str, retag: bool, tiny_model: TinyModel) -> None:
    """Alone, and four together on two threads: the noise is the same, and float32 attention moves nothing."""
    with Model(tiny_model(architecture), retag=retag) as model:
        requests = requests_for(model)
        expected = oracle_results(model, requests, **FLOAT32)
        decided = [i for i, result in enumerate(expected) if result.margin >= NEAR_TIE]
        assert len(decided) >= len(requests) - 4  # thousands of decisions in each: some are close
        for n_together, n_threads in ((1, 1), (4, 2)):
            got = engine_results(model, requests, n_together, n_threads, **FLOAT32)
            for i in decided:
                assert_same(got[i], expected[i])


@pytest.mark.parametrize("architecture", DIFFUSION)
def test_batches_move_only_near_ties_with_16_bit_attention(architecture: str, tiny_model: TinyModel) -> None:
    """Where: ggml's flash attention has other kernels for other batch shapes and numbers of threads.

    How rarely: `pytest -rP` shows it.
    """
    with Model(tiny_model(architecture)) as model:
        requests = requests_for(model)
        expected = oracle_results(model, requests, **HALF)
        ways = ((1, 1), (4, 1), (1, 2))  # canvases together, threads
        moved = [
            wanted.margin
            for way in ways
            for got, wanted in zip(engine_results(model, requests, *way, **HALF), expected, strict=True)
            if got.tokens.tolist() != wanted.tokens.tolist()
        ]
        print(f"{architecture}: {len(moved)} of {len(ways) * len(requests)} canvases moved, at margins {moved}")
        assert all(margin < HALF_ROUNDING for margin in moved), moved
        assert len(moved) <= len(requests) // 4, moved
