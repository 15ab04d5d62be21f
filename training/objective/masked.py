"""Masked diffusion (LLaDA, arXiv 2502.09992): every masked token from all the others.

LLaDA masks each position of the reply with a probability drawn once per row. A decoder does not meet masks like that:
it settles a prompt's reply roughly from left to right, block by block. So a share of the rows is masked the way a
decoder would have left them, and counts in full only what that decoder would settle next; another share has a single
gap with both sides given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..corpus import Batch
from ..tokenizer import MASK
from .base import Sample

BEHIND_WEIGHT = 0.2
Mask = NDArray[np.bool_]
Weight = NDArray[np.float32]


def uniform_mask(lo: int, hi: int, length: int, rng: np.random.Generator) -> Mask:
    """Each of [lo, hi) with the same probability, drawn uniformly; at least one."""
    mask = np.zeros(length, np.bool_)
    mask[lo:hi] = rng.random(hi - lo) < rng.random()
    if not mask.any():
        mask[rng.integers(lo, hi)] = True
    return mask


def frontier_weight(lo: int, hi: int, length: int, rng: np.random.Generator) -> Weight:
    """All up to a frontier settled, a block half settled, all behind it masked; `hi` bounds the frontier only."""
    frontier = int(rng.integers(lo, hi))
    block = int(rng.choice((4, 8, 16, 32)))
    weight = uniform_mask(frontier, min(frontier + block, length), length, rng).astype(np.float32)
    weight[frontier + block :] = BEHIND_WEIGHT
    return weight


def gap_mask(lo: int, hi: int, length: int, rng: np.random.Generator) -> Mask:
    """One gap of at most 24 positions."""
    n = int(rng.integers(1, min(hi - lo, 24) + 1))
    start = int(rng.integers(lo, hi - n + 1))
    mask = np.zeros(length, np.bool_)
    mask[start : start + n] = True
    return mask


@dataclass(frozen=True)
class Masked:
    """`shift`: position i is predicted by row i - 1, as in Dream. Padding counts little: there is so much of it."""

    shift: bool = False
    frontier_share: float = 0.55
    gap_share: float = 0.15
    padding_weight: float = 0.1
    causal: bool = False

    def sample(self, batch: Batch, rng: np.random.Generator) -> Sample:
        length = batch.ids.shape[1]
        spans = zip(batch.lo.tolist(), batch.hi.tolist(), batch.is_chat.tolist(), strict=True)
        weight = np.stack([self._weight(lo, hi, is_chat, length, rng) for lo, hi, is_chat in spans])
        is_padding = np.arange(length) >= batch.hi[:, None]
        inputs = np.where(weight > 0, MASK, batch.ids)
        weight = np.where(is_padding, weight * self.padding_weight, weight).astype(np.float32)
        if self.shift:
            return Sample(inputs, np.roll(batch.ids, -1, 1), self._one_row_earlier(weight))
        return Sample(inputs, batch.ids, weight)

    def _weight(self, lo: int, hi: int, is_chat: bool, length: int, rng: np.random.Generator) -> Weight:
        """How much each position counts; those that do not are left as they are, the others masked."""
        if self.shift:
            lo = max(lo, 1)
        kind = rng.random()
        if kind < self.gap_share or (not is_chat and kind < 0.6):
            return gap_mask(lo, hi, length, rng).astype(np.float32)
        if is_chat and kind < self.gap_share + self.frontier_share:
            return frontier_weight(lo, hi, length, rng)
        return uniform_mask(lo, length if is_chat else hi, length, rng).astype(np.float32)

    @staticmethod
    def _one_row_earlier(weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Row i - 1 answers for position i; nothing answers for position 0, which is never masked."""
        return np.concatenate((weight[:, 1:], np.zeros_like(weight[:, :1])), 1)
