"""Infilling a gap of unknown length (DreamOn): a mask may stand for several tokens, or for none.

The gap's tokens are dealt out to fewer masks than there are: a mask that stands for two or more has <expand> as its
target, and a decoder replaces it by two masks. Surplus masks at the gap's end have EOS as their target, and a decoder
removes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..corpus import Batch
from ..tokenizer import EOS, EXPAND, MASK
from .base import Sample

MAX_GAP = 24


@dataclass(frozen=True)
class _Slot:
    """One position of the rewritten gap: what a model sees there and what it should say."""

    shown: int
    target: int


def _deal(tokens: list[int], rng: np.random.Generator) -> list[_Slot]:
    """Hides some tokens, merges some neighbouring hidden ones, adds surplus masks."""
    hidden_share = 1.0 if rng.random() < 0.5 else rng.random()
    merge_share = 0.0 if rng.random() < 0.3 else rng.random()
    slots: list[_Slot] = []
    grow_last = False
    for token in tokens:
        if rng.random() >= hidden_share:
            slots.append(_Slot(token, token))
            grow_last = False
        elif grow_last and rng.random() < merge_share:
            slots[-1] = _Slot(MASK, EXPAND)
        else:
            slots.append(_Slot(MASK, token))
            grow_last = True
    n_surplus = int(rng.geometric(0.4)) - 1 if rng.random() < 0.5 else 0
    return slots + [_Slot(MASK, EOS)] * n_surplus


@dataclass(frozen=True)
class Elastic:
    """Shifted rows, as in Dream: row i - 1 answers for position i."""

    shift: bool = True
    causal: bool = False

    def sample(self, batch: Batch, rng: np.random.Generator) -> Sample:
        rows, length = batch.ids.shape
        inputs = np.full((rows, length), EOS, np.int64)
        targets = np.full((rows, length), EOS, np.int64)
        weight = np.zeros((rows, length), np.float32)
        for k in range(rows):
            self._rewrite(batch, k, rng, inputs[k], targets[k], weight[k])
        return Sample(inputs, np.roll(targets, -1, 1), np.concatenate((weight[:, 1:], weight[:, :1]), 1))

    @staticmethod
    def _rewrite(
        batch: Batch, k: int, rng: np.random.Generator, inputs: np.ndarray, targets: np.ndarray, weight: np.ndarray
    ) -> None:
        row, lo, hi, length = batch.ids[k], max(int(batch.lo[k]), 1), int(batch.hi[k]), len(inputs)
        n = int(rng.integers(1, min(hi - lo, MAX_GAP) + 1))
        start = int(rng.integers(lo, hi - n + 1))
        suffix = row[start + n : hi]
        slots = _deal(row[start : start + n].tolist(), rng)[: length - start - len(suffix)]
        end = start + len(slots)
        inputs[:start] = targets[:start] = row[:start]
        inputs[start:end] = [slot.shown for slot in slots]
        targets[start:end] = [slot.target for slot in slots]
        inputs[end : end + len(suffix)] = targets[end : end + len(suffix)] = suffix
        weight[start:end] = inputs[start:end] == MASK
