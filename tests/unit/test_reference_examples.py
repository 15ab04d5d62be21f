"""The oracle against results worked out by hand, and its draws against the distributions they stand for."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fake import fake_logits, mix, noise_gumbel, noise_key, noise_uniform
from tests.margin import Margin
from tests.reference import Recipe, Result, Rows, decode, entropy, keep_likely, propose, topk_margin

MASK, EOS, EOT = 0, 1, 2
# p of tokens 1..4 for four positions; token 0 is the mask.
TABLE = np.array([
    [0.00, 0.05, 0.05, 0.60, 0.30],  # entropy 0.967, margin 0.30
    [0.00, 0.01, 0.01, 0.49, 0.49],  # entropy 0.791, margin 0.00
    [0.00, 0.10, 0.10, 0.10, 0.70],  # entropy 0.940, margin 0.60
    [0.00, 0.52, 0.16, 0.16, 0.16],  # entropy 1.220, margin 0.36
])  # fmt: skip
CHI2_999 = {3: 16.27, 5: 20.52, 7: 24.32, 19: 43.82}  # 99.9 % quantiles by degrees of freedom


def from_table(canvases: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.repeat(np.log(TABLE)[None], len(canvases), 0)


def order_of(result: Result) -> list[int]:
    return [int(i) for i in np.argsort(result.settled_at, kind="stable")]


def table_decode(tokens: tuple[int, ...] = (MASK,) * 4, **options: Any) -> Result:
    return decode(from_table, tokens, MASK, **{"schedule": "block", "steps": 4, **options})


@pytest.mark.parametrize(
    ("algorithm", "order"),
    [
        ("low_confidence", [2, 0, 3, 1]),
        ("maskgit_plus", [2, 0, 3, 1]),
        ("topk_margin", [2, 3, 0, 1]),
        ("entropy", [1, 2, 0, 3]),
    ],
)
def test_each_score_has_its_own_order(algorithm: str, order: list[int]) -> None:
    result = table_decode(algorithm=algorithm)
    assert result.tokens.tolist() == [3, 3, 4, 1]  # position 1 is a tie: the lower token
    assert order_of(result) == order


def test_two_a_step_then_the_rest() -> None:
    result = table_decode(algorithm="low_confidence", steps=3)  # 4 = 2 + 1 + 1
    assert result.settled_at.tolist() == [0, 2, 0, 1]


def test_blocks_go_from_left_to_right() -> None:
    result = table_decode(algorithm="low_confidence", block_length=2)
    assert result.settled_at.tolist() == [0, 1, 2, 3]


def test_infilling_counts_blocks_from_the_first_mask_to_the_last() -> None:
    """Masks at 0, 1 and 3; blocks of two are [0, 2) and [2, 4); the second has one mask and as many steps."""
    result = table_decode((MASK, MASK, 3, MASK), algorithm="low_confidence", block_length=2)
    assert result.tokens.tolist() == [3, 3, 3, 1]
    assert result.settled_at.tolist() == [0, 1, -1, 2] and result.n_passes == 3


def test_blocks_without_masks_take_no_step() -> None:
    result = table_decode((MASK, 3, 3, MASK), algorithm="low_confidence", block_length=1)
    assert result.settled_at.tolist() == [0, -1, -1, 1]


def test_ends_come_last_but_do_come() -> None:
    result = table_decode(algorithm="low_confidence", eos_id=EOS, eot_id=4, confidence_eos_eot_inf=True)
    assert result.tokens.tolist() == [3, 3, 4, 1]
    assert order_of(result) == [0, 1, 2, 3]  # 0 and 1 are text; 2 and 3 are ends, the earlier first


def test_eos_taken_out_of_the_logits_renormalises_the_rest() -> None:
    result = table_decode(algorithm="low_confidence", eos_id=EOS, logits_eos_inf=True)
    assert result.tokens.tolist() == [3, 3, 4, 2]
    assert order_of(result) == [2, 0, 1, 3]  # .7/.9, .6/.95, .49/.99, 1/3


def test_logit_bias_adds() -> None:
    result = table_decode(algorithm="low_confidence", logit_bias={2: 10.0})
    assert result.tokens.tolist() == [2, 2, 2, 2]


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits_once() -> None:
    logits = np.array([[0.0, 4.0, 3.0, -9.0], [0.0, -1.0, -1.5, -9.0], [0.0, 4.0, 3.0, -9.0]])
    result = decode(
        lambda _: logits[None], [MASK, MASK, 1], MASK,
        algorithm="low_confidence", schedule="block", steps=1, repetition_penalty=2.0,
    )  # fmt: skip
    assert result.tokens.tolist() == [2, 2, 1]  # token 1: 4 / 2 < 3, and -1 * 2 < -1.5


def test_guidance_extrapolates_from_the_unguided_row() -> None:
    cond, uncond = np.array([0.0, 2.0, 1.9, 0.0]), np.array([0.0, 2.0, 1.5, 0.0])
    rows = np.stack([np.stack([cond] * 2), np.stack([uncond] * 2)])
    options: dict[str, Any] = {"algorithm": "low_confidence", "schedule": "block", "steps": 1}
    result = {
        scale: decode(lambda canvases: rows[: len(canvases)], [3, MASK], MASK, cfg_scale=scale, **options).tokens[1]
        for scale in (0.0, 0.2, 0.3)
    }
    assert result == {0.0: 1, 0.2: 1, 0.3: 2}  # 1.5 + (scale + 1) * 0.4 passes 2 at scale 0.25


def test_shift_predicts_from_the_row_before_and_position_zero_from_its_own() -> None:
    shifted = table_decode(algorithm="low_confidence", shift=True)
    assert shifted.tokens.tolist() == [3, 3, 3, 4]


def test_timestep_schedule_by_hand() -> None:
    """Times 1, .75025, .5005, .25075, .001 and 10 masks: int(10 * .24975), int(8 * .333), int(6 * .499), the rest."""
    n = 10
    result = decode(
        lambda canvases: np.stack([fake_logits(c, 12) for c in canvases]), [MASK] * n, MASK,
        algorithm="maskgit_plus", schedule="timestep", steps=4,
    )  # fmt: skip
    assert np.bincount(result.settled_at).tolist() == [2, 2, 2, 4]


def test_cut_keeps_the_token_that_crosses_top_p_and_ties_at_top_k() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]]))

    def kept(**options: Any) -> list[list[int]]:
        recipe = Recipe("entropy", "block", 1, **options)
        return [np.flatnonzero(np.isfinite(row)).tolist() for row in keep_likely(logits, recipe, Margin())]

    assert kept(top_p=0.6) == [[0, 1], [0, 1, 2]]
    assert kept(top_p=0.4) == [[0], [0, 1]]
    assert kept(top_k=2) == [[0, 1], [0, 1, 2, 3]]
    assert kept(top_p=0.6, top_k=1) == [[0], [0, 1, 2]]
    assert kept(top_p=0.0, top_k=9) == [[0, 1, 2, 3]] * 2
    assert kept(top_p=0.68, temperature=0.5) == [[0], [0, 1, 2]]  # .25 of .365 is .685


def test_scores_stay_exact_near_certainty() -> None:
    logits = np.array([[0.0, -50.0, -60.0], [0.0, -51.0, -60.0]])
    rows = Rows(logits, logits, np.zeros(2, np.int64), np.zeros(2, np.uint64))
    for score in (topk_margin, entropy):
        doubt = score(rows)[1]
        assert 0 < doubt[1] < doubt[0] < 1e-19
    assert topk_margin(rows)[1][0] == pytest.approx(2 * np.exp(-50.0), rel=1e-4)
    assert entropy(rows)[1][0] == pytest.approx(51 * np.exp(-50.0), rel=1e-3)


# ---- noise ----------------------------------------------------------------------------------------------------------


def test_mix_is_splitmix64() -> None:
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # its first output for seed 0
    assert mix((1234567 + 0x9E3779B97F4A7C15) % 2**64) == 6457827717110365317  # and for seed 1234567


def test_noise_is_a_function_of_seed_step_position_and_token() -> None:
    keys = {int(noise_key(seed, step, [p])[0]) for seed, step, p in itertools.product(range(5), range(5), range(5))}
    assert len(keys) == 125
    grid = noise_uniform(noise_key(3, 1, np.arange(4))[:, None], np.arange(6))
    assert grid[2, 5] == noise_uniform(noise_key(3, 1, [2]), 5)[0]


def test_uniform_is_uniform() -> None:
    u = noise_uniform(noise_key(11, 0, np.arange(2000))[:, None], np.arange(10)).ravel()
    observed = np.histogram(u, bins=20, range=(0, 1))[0]
    assert chi_square(observed, np.full(20, 1 / 20)) < CHI2_999[19]


def chi_square(observed: NDArray[Any], p: NDArray[np.float64]) -> float:
    expected = p * observed.sum()
    return float(np.sum((observed - expected) ** 2 / expected))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"temperature": 0.5}, {"temperature": 1.0, "top_k": 4},
                                     {"temperature": 2.0, "top_p": 0.8}])  # fmt: skip
def test_gumbel_max_draws_from_the_cut_softmax(options: dict[str, Any], seed: int) -> None:
    row = np.array([9.0, 1.0, 0.5, 0.0, -0.5, -1.0, -1.2, -1.5, 0.3])
    n = 6000
    result = decode(
        lambda _: np.broadcast_to(row, (1, n, len(row))), np.full(n, MASK), MASK,
        algorithm="random", schedule="block", steps=1, seed=seed, **options,
    )  # fmt: skip
    weights = np.exp(row[1:] / options["temperature"])
    order = np.argsort(-weights)
    p = weights[order] / weights.sum()
    keep = np.concatenate([[True], np.cumsum(p)[:-1] <= options.get("top_p", 1.0)])
    keep &= np.arange(len(p)) < options.get("top_k", len(p))
    observed = np.bincount(result.tokens - 1, minlength=len(p))[order]
    assert observed[~keep].sum() == 0
    assert chi_square(observed[keep], p[keep] / p[keep].sum()) < CHI2_999.get(int(keep.sum()) - 1, 20.0)


def test_gumbel_max_is_lladas_formula() -> None:
    logits = np.stack([fake_logits([7], 30, salt)[0] for salt in range(200)]).astype(np.float64) / 4
    keys = noise_key(5, 2, np.arange(200))
    u = noise_uniform(keys[:, None], np.arange(30))
    for temperature in (0.3, 1.0, 1.7):
        theirs = np.argmax(np.exp(logits) / (-np.log(u)) ** temperature, axis=-1)
        assert propose(logits, keys, temperature, Margin()).tolist() == theirs.tolist()


def test_alg_temp_draws_positions_without_replacement() -> None:
    """Unordered pairs of 4 positions, by their chance under two successive softmax draws."""
    alg_temp, n_draws = 0.2, 3000
    weights = np.exp(TABLE.max(-1) / alg_temp)
    p = weights / weights.sum()
    pairs = list(itertools.combinations(range(4), 2))
    chance = np.array([p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b]) for a, b in pairs])
    assert chance.sum() == pytest.approx(1.0)
    counts = dict.fromkeys(pairs, 0)
    for seed in range(n_draws):
        result = table_decode(algorithm="low_confidence", steps=2, alg_temp=alg_temp, seed=seed)
        a, b = np.flatnonzero(result.settled_at == 0).tolist()
        counts[a, b] += 1
    assert chi_square(np.array([counts[pair] for pair in pairs]), chance) < CHI2_999[5]


def test_origin_reveals_with_the_share_of_its_time() -> None:
    n, steps = 20_000, 4
    result = decode(
        lambda _: np.broadcast_to(np.array([9.0, 1.0, 0.0]), (1, n, 3)), np.full(n, MASK), MASK,
        algorithm="origin", schedule="timestep", steps=steps, temperature=1.0, seed=3,
    )  # fmt: skip
    times = np.linspace(1, 1e-3, steps + 1)
    chance = times[:-1] - times[1:]
    chance[-1] += times[-1]
    assert chi_square(np.bincount(result.settled_at, minlength=steps), chance) < CHI2_999[3]


def test_noise_has_the_gumbel_mean() -> None:
    g = noise_gumbel(noise_key(1, 1, np.arange(500))[:, None], np.arange(40))
    assert g.mean() == pytest.approx(np.euler_gamma, abs=5 * np.pi / np.sqrt(6 * g.size))
