"""row_keep against a sort, row_guide and row_scale against their formulas."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .rows import KINDS, Row, make_row, rows

NEAR = 1e-12  # a cumulative probability this near top_p may fall on either side


def keep(csrc: ctypes.CDLL, row: Row, inv_temperature: float, top_p: float, top_k: int) -> Row:
    kept = row.copy()
    csrc.row_keep(kept.ctypes.data, len(kept), inv_temperature, top_p, top_k)
    return kept


def nucleus_sizes(row: Row, order: np.ndarray, inv_temperature: float, top_p: float) -> range:
    """How many of the sorted tokens top-p keeps: more than one answer only where rounding decides."""
    if not 0.0 < top_p < 1.0:
        return range(len(row), len(row) + 1)
    wide = row.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        weights = np.exp((wide[order] - wide[order[0]]) * min(inv_temperature, 1e300))
    weights = np.where(np.isfinite(wide[order]), weights, 0.0)
    share = np.cumsum(weights) / math.fsum(weights)
    fewest, most = (int(np.argmax(share > top_p * side)) if share[-1] > top_p * side else len(row) - 1
                    for side in (1 - NEAR, 1 + NEAR))  # fmt: skip
    return range(fewest + 1, most + 2)


def check(csrc: ctypes.CDLL, row: Row, inv_temperature: float, top_p: float, top_k: int) -> None:
    got = keep(csrc, row, inv_temperature, top_p, top_k)
    order = np.argsort(-row, kind="stable")
    if not np.isfinite(row).any():
        assert np.array_equal(got, row)
        return
    answers = []
    for n_kept in nucleus_sizes(row, order, inv_temperature, top_p):
        wanted = np.full_like(row, -np.inf)
        wanted[order[:n_kept]] = row[order[:n_kept]]
        if 0 < top_k < len(row):
            wanted[wanted < np.sort(wanted)[-top_k]] = -np.inf
        answers.append(wanted)
    assert any(np.array_equal(got, wanted) for wanted in answers), (np.isfinite(got).sum(), len(answers))


top_ps = st.one_of(st.sampled_from([0.0, 1e-9, 0.5, 0.9, 0.95, 1.0 - 1e-12, 1.0, 2.0]), st.floats(0.0, 1.0))
inv_temperatures = st.sampled_from([1e-3, 0.5, 1.0, 3.3, 100.0, 1e30, math.inf])


@given(
    row=rows, inv_temperature=inv_temperatures, top_p=top_ps, top_k=st.one_of(st.integers(-1, 60), st.integers(0, 5000))
)
def test_cuts_are_those_of_a_sorted_row(
    csrc: ctypes.CDLL, row: Row, inv_temperature: float, top_p: float, top_k: int
) -> None:
    check(csrc, row, inv_temperature, top_p, top_k)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda kind: KINDS[kind].__name__)
@pytest.mark.parametrize(("top_p", "top_k"), [(0.95, 0), (0.3, 40), (0.0, 40), (0.0, 20000), (0.9999, 1)])
def test_a_whole_vocabulary(csrc: ctypes.CDLL, kind: int, top_p: float, top_k: int) -> None:
    check(csrc, make_row(kind, 5, 126464, holes=0.0, offset=3), 1.25, top_p, top_k)


def test_ties_at_the_cut(csrc: ctypes.CDLL) -> None:
    row = np.array([1, 0, 2, 1, 1, -0.0, 2], dtype=np.float32)
    top_k = keep(csrc, row, 1.0, 0.0, 3)
    assert np.flatnonzero(np.isfinite(top_k)).tolist() == [0, 2, 3, 4, 6]  # all that equal the third
    zeros = np.array([-0.0, 0.0, -1.0, 0.0], dtype=np.float32)
    assert np.flatnonzero(np.isfinite(keep(csrc, zeros, 1.0, 0.0, 1))).tolist() == [0, 1, 3]  # -0 equals 0
    assert np.flatnonzero(np.isfinite(keep(csrc, zeros, 1.0, 0.4, 0))).tolist() == [0, 1]
    flat = np.zeros(10, dtype=np.float32)
    top_p = keep(csrc, flat, 1.0, 0.45, 0)
    assert np.flatnonzero(np.isfinite(top_p)).tolist() == [0, 1, 2, 3, 4]  # the lower tokens


def test_few_finite_logits_in_few_groups(csrc: ctypes.CDLL) -> None:
    row = np.full(126464, -np.inf, dtype=np.float32)
    row[5000:5060] = np.arange(60)
    assert np.isfinite(keep(csrc, row, 1.0, 0.0, 40)).sum() == 40
    assert np.isfinite(keep(csrc, row, 1.0, 0.0, 100)).sum() == 60


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_invalid_row_is_left_alone(csrc: ctypes.CDLL, bad: float) -> None:
    row = np.arange(100, dtype=np.float32)
    row[50] = bad
    assert np.array_equal(keep(csrc, row, 1.0, 0.5, 3), row, equal_nan=True)


@given(seed=st.integers(0, 1000), n=st.integers(1, 300), scale=st.floats(0, 8, width=32))
def test_guidance(library: ctypes.CDLL, seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    cond, uncond = rng.normal(0, 4, (2, n)).astype(np.float32)
    cond[rng.random(n) < 0.2] = -np.inf
    got = cond.copy()
    library.row_guide(got.ctypes.data, uncond.ctypes.data, n, scale)
    wide = uncond + (float(scale) + 1.0) * (cond.astype(np.float64) - uncond)
    assert np.allclose(got, wide, rtol=1e-6, atol=1e-5)
    assert np.array_equal(np.isneginf(got), np.isneginf(cond))


def test_scaling(library: ctypes.CDLL) -> None:
    row = np.array([1.0, -3.0, -np.inf, 0.1], dtype=np.float32)
    got = row.copy()
    library.row_scale(got.ctypes.data, len(got), 1.7)
    assert np.array_equal(got, row * np.float32(1.7))


@given(row=rows, k=st.integers(0, 70))
def test_the_likeliest_are_the_first_of_a_sorted_row(library: ctypes.CDLL, row: Row, k: int) -> None:
    if np.isnan(row).any():
        return  # such a row is refused before anybody asks for its best
    tokens, logits = np.full(k + 1, -7, dtype=np.int32), np.zeros(k + 1, dtype=np.float32)
    n = library.row_top(row.ctypes.data, len(row), k, tokens.ctypes.data, logits.ctypes.data)
    order = np.argsort(-row, kind="stable")[: min(k, int((row > -np.inf).sum()))]
    assert n == len(order) and np.array_equal(tokens[:n], order) and np.array_equal(logits[:n], row[order])
    assert tokens[k] == -7
