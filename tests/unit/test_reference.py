"""Laws of the oracle itself, over random canvases and recipes on the fake model."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from numpy.typing import NDArray

from tests.cases import ALGORITHMS, DREAM, SCHEDULES, Case, cases
from tests.reference import Recipe, blocks, decode, longest_block
from tests.reference_growth import Canvas

RANKED = tuple(name for name in ALGORITHMS if name != "origin")
PLAIN: dict[str, Any] = {
    "temperature": 0.0, "cfg_scale": 0.0, "shift": False, "repetition_penalty": 1.0,
    "logit_bias": None, "logits_eos_inf": False,
}  # fmt: skip


def tiles_of(case: Case) -> list[tuple[int, int, int]]:
    recipe, canvas = Recipe(**case.options), Canvas.of(case.tokens, case.mask_id)
    return list(blocks(canvas, recipe, longest_block(canvas, recipe, 0)))


def spans(case: Case) -> list[tuple[int, int, int]]:
    masked = np.array(case.tokens) == case.mask_id
    return [(lo, hi, n_steps) for lo, hi, n_steps in tiles_of(case) if masked[lo:hi].any()]


def argmax_tokens(case: Case, canvas: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    logits = case.forward(canvas[None])[0, positions]
    logits[:, case.mask_id] = -np.inf
    best: NDArray[np.int64] = np.argmax(logits, axis=-1)
    return best


@given(cases())
def test_fills_every_mask_and_touches_nothing_else(case: Case) -> None:
    result = case.decode()
    before = np.array(case.tokens)
    masked = before == case.mask_id
    assert not (result.tokens == case.mask_id).any()
    assert ((result.tokens >= 0) & (result.tokens < case.n_vocab)).all()
    assert (result.tokens[~masked] == before[~masked]).all()
    assert (result.settled_at[~masked] == -1).all() and (result.settled_at[masked] >= 0).all()
    assert result.n_passes == len(set(result.settled_at[masked].tolist()))
    assert result.margin >= 0


@given(cases())
def test_blocks_are_settled_one_after_the_other_within_their_steps(case: Case) -> None:
    settled_at = case.decode().settled_at
    first_step = 0
    for lo, hi, n_steps in spans(case):
        steps = settled_at[lo:hi][settled_at[lo:hi] >= 0]
        assert (first_step <= steps).all() and (steps < first_step + n_steps).all()
        first_step += n_steps


@given(cases())
def test_blocks_tile_the_masked_span_and_share_the_steps(case: Case) -> None:
    tiles = tiles_of(case)
    assert tiles[0][0] == case.masked[0] and tiles[-1][1] == case.masked[-1] + 1
    assert all(a[1] == b[0] for a, b in itertools.pairwise(tiles))
    assert sum(n_steps for *_, n_steps in tiles) == max(case.options["steps"], len(tiles))
    assert max(t[2] for t in tiles) - min(t[2] for t in tiles) <= 1


@given(cases(algorithms=RANKED, schedule="block"))
def test_llada_transfer_numbers(case: Case) -> None:
    """generate.py: base = n // s for every step, one more for the first n mod s."""
    settled_at = case.decode().settled_at
    first_step = 0
    for lo, hi, n_steps in spans(case):
        n = int(np.count_nonzero(settled_at[lo:hi] >= 0))
        expected = np.full(n_steps, n // n_steps)
        expected[: n % n_steps] += 1
        steps = settled_at[lo:hi][settled_at[lo:hi] >= 0] - first_step
        assert np.bincount(steps, minlength=n_steps).tolist() == expected.tolist()
        first_step += n_steps


@given(cases(algorithms=RANKED, schedule="timestep"))
def test_dream_transfer_numbers(case: Case) -> None:
    settled_at = case.decode().settled_at
    eps = case.options.get("eps", 1e-3)
    first_step = 0
    for lo, hi, n_steps in spans(case):
        left = int(np.count_nonzero(settled_at[lo:hi] >= 0))
        times = np.linspace(1, eps, n_steps + 1)
        for j in range(n_steps):
            due = int(left * (1 - times[j + 1] / times[j])) if j < n_steps - 1 else left
            assert np.count_nonzero(settled_at[lo:hi] == first_step + j) == due
            left -= due
        first_step += n_steps


@given(cases(**PLAIN))
def test_one_step_a_block_without_noise_is_plain_argmax(case: Case) -> None:
    n_blocks = len(tiles_of(case))
    canvas = np.array(case.tokens)
    for lo, hi, _ in spans(case):
        positions = lo + np.flatnonzero(canvas[lo:hi] == case.mask_id)
        canvas[positions] = argmax_tokens(case, canvas, positions)
    assert case.decode(steps=n_blocks).tokens.tolist() == canvas.tolist()


@given(cases(algorithms=("low_confidence",), schedule="block", block_length=0, **PLAIN))
def test_one_mask_a_step_takes_the_surest_each_time(case: Case) -> None:
    """LLaDA's simplest setting, written out once more without any of the oracle's machinery."""
    assume("alg_temp" not in case.options and "confidence_eos_eot_inf" not in case.options)
    canvas, order = np.array(case.tokens), []
    while (canvas == case.mask_id).any():
        logits = case.forward(canvas[None])[0].astype(np.float64)
        logits[:, case.mask_id] = -np.inf
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        surest = int(np.argmax(np.where(canvas == case.mask_id, p.max(-1), -1.0)))
        canvas[surest] = int(np.argmax(p[surest]))
        order.append(surest)
    result = case.decode(steps=len(order))
    assume(result.margin > 1e-12)
    assert result.tokens.tolist() == canvas.tolist()
    assert [int(np.flatnonzero(result.settled_at == step)[0]) for step in range(len(order))] == order


@given(cases())
def test_same_seed_same_result(case: Case) -> None:
    one, two = case.decode(), case.decode()
    assert one.tokens.tolist() == two.tokens.tolist() and one.settled_at.tolist() == two.settled_at.tolist()


@given(cases(shift=True))
def test_shift_reads_the_row_before(case: Case) -> None:
    def moved(canvases: NDArray[Any]) -> NDArray[np.float32]:
        logits = case.forward(canvases)
        return np.concatenate([logits[:, :1], logits[:, :-1]], axis=1)

    shifted, plain = case.decode(), decode(moved, case.tokens, case.mask_id, **{**case.options, "shift": False})
    assert shifted.tokens.tolist() == plain.tokens.tolist()


@given(cases())
def test_guidance_zero_is_no_guidance_and_one_stream(case: Case) -> None:
    def single(canvases: NDArray[Any]) -> NDArray[np.float32]:
        assert len(canvases) == 1
        return case.forward(canvases)

    options = {k: v for k, v in case.options.items() if k != "cfg_scale"}
    without = decode(single, case.tokens, case.mask_id, **options)
    assert case.decode(cfg_scale=0.0).tokens.tolist() == without.tokens.tolist()


@given(cases(cfg_scale=1.5))
def test_guidance_hides_all_that_was_given_and_nothing_that_was_settled(case: Case) -> None:
    given_index = np.array(case.tokens) != case.mask_id

    def watched(canvases: NDArray[Any]) -> NDArray[np.float32]:
        cond, uncond = canvases
        assert (uncond[given_index] == case.mask_id).all() and (uncond[~given_index] == cond[~given_index]).all()
        return case.forward(canvases)

    decode(watched, case.tokens, case.mask_id, **case.options)


@given(cases())
def test_guidance_of_a_model_blind_to_the_prompt_changes_nothing(case: Case) -> None:
    given_index = np.array(case.tokens) != case.mask_id

    def blind(canvases: NDArray[Any]) -> NDArray[np.float32]:
        return case.forward(np.where(given_index, case.mask_id, canvases))

    free, guided = (
        decode(blind, case.tokens, case.mask_id, **{**case.options, "cfg_scale": scale}) for scale in (0.0, 2.0)
    )
    assert free.tokens.tolist() == guided.tokens.tolist()


@given(cases(eos_id=1, logits_eos_inf=True, logit_bias={1: 50.0}))
def test_logits_eos_inf_never_writes_eos(case: Case) -> None:
    assume(case.mask_id != 1)
    assert not (case.decode().tokens[case.masked] == 1).any()


@given(cases(algorithms=RANKED, eos_id=1, eot_id=2, confidence_eos_eot_inf=True, logits_eos_inf=False))
def test_confidence_eos_eot_inf_settles_ends_last(case: Case) -> None:
    """For rows that do not change, ends come after everything else of their block."""
    fixed = case.forward(np.array([case.tokens]))
    options = {**case.options, "temperature": 0.0, "repetition_penalty": 1.0}
    result = decode(lambda canvases: np.repeat(fixed, len(canvases), 0), case.tokens, case.mask_id, **options)
    for lo, hi, _ in spans(case):
        is_end = np.isin(result.tokens[lo:hi], [1, 2]) & (result.settled_at[lo:hi] >= 0)
        is_text = ~is_end & (result.settled_at[lo:hi] >= 0)
        if is_end.any() and is_text.any():
            assert result.settled_at[lo:hi][is_text].max() <= result.settled_at[lo:hi][is_end].min()


@pytest.mark.parametrize("cut", [{"top_k": 1, "top_p": 1.0}, {"top_k": 0, "top_p": 1e-9}])
@given(cases(steps=1, block_length=0))
def test_a_cut_to_one_token_is_argmax_at_any_temperature(cut: dict[str, Any], case: Case) -> None:
    hot, cold = case.decode(temperature=1.3, **cut), case.decode(temperature=0.0)
    assert hot.tokens.tolist() == cold.tokens.tolist()


@given(cases(algorithms=("low_confidence", "random", "origin"), temperature=0.0))
def test_cuts_leave_these_alone_without_temperature(case: Case) -> None:
    """LLaDA scores the uncut row, and the best token is never cut."""
    cut, uncut = case.decode(top_k=2, top_p=0.4), case.decode(top_k=0, top_p=1.0)
    assert cut.tokens.tolist() == uncut.tokens.tolist()


@pytest.mark.parametrize("algorithm", RANKED)
@given(case=cases(top_k=0, top_p=1.0, confidence_eos_eot_inf=False, shift=False))
def test_alg_temp_near_zero_is_no_alg_temp(algorithm: str, case: Case) -> None:
    def flat(canvases: NDArray[Any]) -> NDArray[np.float32]:
        return case.forward(canvases) * np.float32(0.2)  # far from certainty, where scores round to 1

    results = [
        decode(flat, case.tokens, case.mask_id, **{**case.options, "algorithm": algorithm, "alg_temp": alg_temp})
        for alg_temp in (0.0, 1e-14)
    ]
    assume(results[0].margin > 1e-9)
    assert results[0].tokens.tolist() == results[1].tokens.tolist()


@given(cases(algorithms=DREAM, schedule="timestep", steps=1, block_length=0, temperature=0.0))
def test_dream_algorithms_agree_when_everything_is_settled_at_once(case: Case) -> None:
    assert len({tuple(case.decode(algorithm=name).tokens.tolist()) for name in DREAM}) == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(case=cases(algorithms=("origin",)))
def test_origin_fills_everything_by_its_last_step(schedule: str, case: Case) -> None:
    assert not (case.decode(schedule=schedule).tokens == case.mask_id).any()
