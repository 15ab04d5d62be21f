"""Rows that scans find hard, and the oracle that reads them in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Row = NDArray[np.float32]
FLOAT_MAX = float(np.finfo(np.float32).max)


class Reading(NamedTuple):
    best: int
    best_logit: float
    second_logit: float
    excess: float
    entropy: float


def read_row(row: Row) -> Reading:
    """scan_row, the long way."""
    wide = row.astype(np.float64)
    if np.isnan(wide).any() or np.isposinf(wide).any():
        return Reading(-1, -np.inf, -np.inf, np.nan, np.nan)
    if not np.isfinite(wide).any():
        return Reading(-2, -np.inf, -np.inf, np.nan, np.nan)
    best = int(np.argmax(wide))
    others = np.delete(wide, best)
    finite = others[np.isfinite(others)]
    gaps = finite - wide[best]
    shares = np.exp(gaps)
    excess = np.log1p(shares.sum())
    entropy = excess - (shares * gaps).sum() / (1.0 + shares.sum())
    return Reading(best, float(row[best]), float(others.max(initial=-np.inf)), float(excess), float(entropy))


def normal(rng: np.random.Generator, n: int) -> Row:
    return rng.normal(rng.uniform(-50, 50), rng.choice([1e-6, 0.01, 1, 4, 30]), n).astype(np.float32)


def confident(rng: np.random.Generator, n: int) -> Row:
    row = rng.normal(0, 2, n)
    row[rng.integers(n)] += rng.uniform(0, 110)
    return row.astype(np.float32)


def tied(rng: np.random.Generator, n: int) -> Row:
    return rng.integers(-2, 3, n).astype(np.float32) * np.float32(rng.choice([0.0, 0.1, 5, 1e30]))


def ascending(rng: np.random.Generator, n: int) -> Row:
    return np.sort(normal(rng, n))


def descending(rng: np.random.Generator, n: int) -> Row:
    return ascending(rng, n)[::-1].copy()


def bits(rng: np.random.Generator, n: int) -> Row:
    """Any finite float at all: all magnitudes, signs and denormals."""
    row: Row = rng.integers(0, 1 << 32, n, dtype=np.uint64).astype(np.uint32).view(np.float32)
    row[~np.isfinite(row)] = 0
    return row


def denormal(rng: np.random.Generator, n: int) -> Row:
    return (rng.integers(-50, 50, n) * 1.4e-45).astype(np.float32)


def far(rng: np.random.Generator, n: int) -> Row:
    """A few logits apart, a long way from zero."""
    row: Row = (rng.choice([-1, 1]) * rng.uniform(100, 1e5) + rng.normal(0, 5, n)).astype(np.float32)
    return row


def extreme(rng: np.random.Generator, n: int) -> Row:
    return rng.choice([-FLOAT_MAX, -1e30, -88, -0.0, 0.0, 88, 1e30, FLOAT_MAX], n).astype(np.float32)


KINDS = (normal, confident, tied, ascending, descending, bits, denormal, far, extreme)


def make_row(kind: int, seed: int, n: int, holes: float, offset: int) -> Row:
    """A row at any alignment, `holes` of it -INFINITY."""
    rng = np.random.default_rng(seed)
    memory = np.full(n + 32, np.nan, dtype=np.float32)  # reading beyond the row would show
    row: Row = memory[offset : offset + n]
    row[:] = KINDS[kind](rng, n)
    row[rng.random(n) < holes] = -np.inf
    return row


sizes = st.one_of(st.integers(1, 130), st.integers(1, 5000), st.sampled_from([2047, 2048, 2049, 4096]))
rows = st.builds(
    make_row,
    kind=st.integers(0, len(KINDS) - 1),
    seed=st.integers(0, 1 << 32),
    n=sizes,
    holes=st.sampled_from([0.0, 0.0, 0.1, 0.9, 1.0]),
    offset=st.integers(0, 16),
)
