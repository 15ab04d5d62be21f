"""The noise and the fake model: the same bits as their NumPy twins."""

from __future__ import annotations

import ctypes
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import fake

u64, u32 = st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1)


@given(seed=u64, step=u32, position=u32)
def test_keys(library: ctypes.CDLL, seed: int, step: int, position: int) -> None:
    assert library.noise_key(seed, step, position) == int(fake.noise_key(seed, step, [position])[0])


@given(key=u64, token=u32)
def test_uniforms_and_gumbels(library: ctypes.CDLL, key: int, token: int) -> None:
    keys = np.array([key], dtype=np.uint64)
    uniform = library.noise_uniform(key, token)
    assert uniform == fake.noise_uniform(keys, [token])[0]
    assert 0.0 < uniform < 1.0
    gumbel = library.noise_gumbel(key, token)
    assert math.isclose(gumbel, -math.log(-math.log(uniform)), rel_tol=1e-15, abs_tol=1e-15)
    assert library.noise_perturb(1.5, 0.3, key, token) == 1.5 + 0.3 * gumbel


def unmix(h: int) -> int:
    """The inverse of noise_mix."""
    mask = (1 << 64) - 1
    h ^= (h >> 31) ^ (h >> 62)
    h = h * pow(0x94D049BB133111EB, -1, 1 << 64) & mask
    h ^= (h >> 27) ^ (h >> 54)
    h = h * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & mask
    return h ^ (h >> 30) ^ (h >> 60)


def test_the_ends_of_the_uniform(library: ctypes.CDLL) -> None:
    """The largest 53 bits plus a half would round to 1, and its Gumbel to infinity."""
    golden = 0x9E3779B97F4A7C15
    for bits, wanted in ((0, 2.0**-54), ((1 << 64) - 1, 1.0 - 2.0**-53)):
        key = unmix(bits) - golden & (1 << 64) - 1
        assert library.noise_uniform(key, 0) == wanted
        assert math.isfinite(library.noise_gumbel(key, 0))


@given(
    tokens=st.lists(st.integers(0, 200000), max_size=40),
    n_vocab=st.integers(1, 300),
    salt=u64,
)
def test_fake_rows(library: ctypes.CDLL, tokens: list[int], n_vocab: int, salt: int) -> None:
    canvas = np.array(tokens, dtype=np.int32)
    wanted = fake.fake_logits(tokens, n_vocab, salt)
    canvas_hash = library.fakerow_hash(canvas.ctypes.data, len(canvas), salt)
    row = np.empty(n_vocab, dtype=np.float32)
    for position in range(len(tokens)):
        library.fakerow_fill(canvas_hash, position, row.ctypes.data, n_vocab)
        assert np.array_equal(row, wanted[position])
