"""The counter-based noise and the fake model in NumPy: the oracle's twin of csrc/noise.h and of hoshikage._fake.

Integers are Python ints or uint64 arrays, both modulo 2^64; every double formula is written so that plain IEEE
arithmetic (no fused multiply-add) gives the same bits as the C code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

U64 = (1 << 64) - 1
GOLDEN, STEP, POSITION = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7

# Draws that belong to a position and not to a vocabulary entry take these "tokens".
RANDOM_SCORE, ORIGIN_REVEAL, ALG_TEMP_DRAW = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
FAKE_SHARPNESS = 0xFFFFFFF0


def mix(z: Any) -> Any:
    """SplitMix64's finaliser, on an int or a uint64 array."""
    z = z ^ (z >> 30)
    z = z * 0xBF58476D1CE4E5B9 & U64
    z = z ^ (z >> 27)
    z = z * 0x94D049BB133111EB & U64
    return z ^ (z >> 31)


def counters(values: ArrayLike) -> NDArray[np.uint64]:
    return np.asarray(values).astype(np.uint64)


def noise_key(seed: int, step: int, positions: ArrayLike) -> NDArray[np.uint64]:
    stream = mix(seed + GOLDEN & U64)
    stream = mix(stream ^ (STEP * (step + 1) & U64))
    keys: NDArray[np.uint64] = mix(stream ^ (counters(positions) + 1) * POSITION)
    return keys


def noise_uniform(keys: NDArray[np.uint64], tokens: ArrayLike) -> NDArray[np.float64]:
    """Uniform in (0, 1); keys and tokens broadcast."""
    with np.errstate(over="ignore"):  # the product wraps on purpose; NumPy warns when both are scalars
        h = mix(keys + (counters(tokens) + 1) * GOLDEN)
    uniform: NDArray[np.float64] = ((h >> 11).astype(np.float64) + 0.5) * 2.0**-53
    return uniform


def noise_gumbel(keys: NDArray[np.uint64], tokens: ArrayLike) -> NDArray[np.float64]:
    gumbel: NDArray[np.float64] = -np.log(-np.log(noise_uniform(keys, tokens)))
    return gumbel


def fake_hash(tokens: Sequence[int] | NDArray[Any], salt: int, staleness: Sequence[int] | None = None) -> int:
    """The hash of a canvas; `staleness` of each token is 0 where it was computed in this very canvas."""
    h: int = mix(0x6A09E667F3BCC909 ^ salt)
    for p, token in enumerate(tokens):
        h = mix(h ^ (GOLDEN * (int(token) + 1) & U64) ^ (staleness[p] if staleness else 0)) + p & U64
    return h


def fake_rows(h: int, n: int, n_vocab: int) -> NDArray[np.float32]:
    """The logits of n positions of a canvas with that hash."""
    keys = mix(h ^ (np.arange(1, n + 1, dtype=np.uint64) * STEP))[:, None]
    sharpness = 1.0 + 11.0 * noise_uniform(keys, FAKE_SHARPNESS)
    logits: NDArray[np.float32] = (sharpness * (2.0 * noise_uniform(keys, np.arange(n_vocab)) - 1.0)).astype(np.float32)
    return logits


def fake_logits(tokens: Sequence[int] | NDArray[Any], n_vocab: int, salt: int = 0) -> NDArray[np.float32]:
    """A bidirectional model made of a hash: every logit depends on the whole canvas; float32[n, n_vocab]."""
    return fake_rows(fake_hash(tokens, salt), len(tokens), n_vocab)


class FakeNetwork:
    """The same with a cache: each cell keeps its token, and the hash of the canvas in which it was computed.

    A cell of another canvas than the present one is stale, and changes every logit: nothing that a plan forgets to
    recompute, or recomputes in vain, goes unseen.
    """

    def __init__(self, n_vocab: int, salt: int = 0) -> None:
        self.n_vocab, self.salt = n_vocab, salt
        self.cells: dict[int, list[tuple[int, int]]] = {}  # stream: (token, written in)

    def __call__(
        self, canvases: NDArray[Any], lo: int = 0, hi: int | None = None, end: int | None = None
    ) -> NDArray[np.float32]:
        return np.stack([self.one(stream, canvas, lo, hi, end) for stream, canvas in enumerate(canvases)])

    def one(self, stream: int, canvas: NDArray[Any], lo: int, hi: int | None, end: int | None) -> NDArray[np.float32]:
        """Compute [lo, hi) of a canvas seen up to `end`; float32[n, n_vocab], NaN where nothing was computed."""
        end = len(canvas) if end is None else end
        hi = end if hi is None else hi
        cached = self.cells.get(stream, [])
        assert lo <= len(cached), "the cells before the span are missing"
        assert hi == end or end <= len(cached), "the cells behind the span are missing"
        tokens = [*(t for t, _ in cached[:lo]), *map(int, canvas[lo:hi]), *(t for t, _ in cached[hi:end])]
        present = fake_hash(tokens, self.salt)
        written = [*(h for _, h in cached[:lo]), *[present] * (hi - lo), *(h for _, h in cached[hi:end])]
        self.cells[stream] = list(zip(tokens, written, strict=True))
        h = fake_hash(tokens, self.salt, [0 if w == present else w for w in written])
        logits = np.full((len(canvas), self.n_vocab), np.nan, np.float32)
        logits[lo:hi] = fake_rows(h, end, self.n_vocab)[lo:hi]
        return logits
