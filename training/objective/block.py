"""Block diffusion (BD3-LM, arXiv 2503.09573): masked tokens from their own block and the clean text before it.

A row goes in twice, side by side: masked, and as it is. A masked block sees itself and the clean blocks before it, a
clean block the clean ones up to itself; so all blocks of a row are learnt in one pass, each as a decoder meets it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..corpus import Batch
from ..tokenizer import MASK
from .base import Sample

Mask = NDArray[np.bool_]


def block_sight(length: int, block: int) -> Mask:
    """[query, key]: a block sees itself and all before it; blocks are counted from the first token."""
    number = np.arange(length) // block
    sight: Mask = number[:, None] >= number[None, :]
    return sight


def twin_sight(length: int, block: int) -> Mask:
    """The same for a masked row of this length with its clean twin behind it."""
    number = np.arange(length) // block
    same, before = number[:, None] == number[None, :], number[:, None] > number[None, :]
    return np.block([[same, before], [np.zeros_like(same), same | before]])


@dataclass(frozen=True)
class Block:
    """`length` of a block, each of which is masked with a probability of its own. Padding counts little."""

    length: int = 8
    padding_weight: float = 0.1
    causal: bool = False

    def sample(self, batch: Batch, rng: np.random.Generator) -> Sample:
        length = batch.ids.shape[1]
        spans = zip(batch.lo.tolist(), batch.hi.tolist(), batch.said, strict=True)
        mask = np.stack([self._mask(lo, hi, said, rng) for lo, hi, said in spans])
        is_padding = np.arange(length) >= batch.hi[:, None]
        weight = np.where(is_padding, mask * self.padding_weight, mask).astype(np.float32)
        return Sample(
            np.concatenate((np.where(mask, MASK, batch.ids), batch.ids), 1),
            np.concatenate((batch.ids, batch.ids), 1),
            np.concatenate((weight, np.zeros_like(weight)), 1),
        )

    def _mask(self, lo: int, hi: int, said: Mask, rng: np.random.Generator) -> Mask:
        """Of all replies and the rest of the block that the last one ends in; at least one."""
        length = len(said)
        end = min(-(-hi // self.length) * self.length, length)
        share = rng.random(-(-length // self.length))[np.arange(length) // self.length]
        mask: Mask = rng.random(length) < share
        mask[:hi] &= said[:hi]
        mask[end:] = False
        if not mask.any():
            mask[rng.integers(lo, hi)] = True
        return mask
