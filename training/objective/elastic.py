"""Infilling a gap of unknown length (DreamOn): a mask may stand for several tokens, or for none.

A decoder begins with a few masks, whatever the gap. Where they are too few, the last of a run of masks stands for all
that the others leave, and has <expand> as its target: a decoder replaces it by two masks. Where they are too many,
those at the gap's end have EOS as their target, and a decoder takes them out. So each mask has one right answer, by its
place; dealt out at random, which nobody can know, tokens and <expand> were both half right everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hoshikage.engine.gaps import START

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
    """Hides some tokens, and shows each run of them as one mask or more; adds masks for nothing behind the last."""
    hidden_share = 1.0 if rng.random() < 0.5 else rng.random()
    is_hidden = rng.random(len(tokens)) < hidden_share
    slots: list[_Slot] = []
    lo = 0
    while lo < len(tokens):
        if not is_hidden[lo]:
            slots.append(_Slot(tokens[lo], tokens[lo]))
            lo += 1
            continue
        hi = lo
        while hi < len(tokens) and is_hidden[hi]:
            hi += 1
        slots += _masks(tokens[lo:hi], rng)
        lo = hi
    if slots[-1].target == EXPAND:
        return slots
    n_surplus = max(START - len(slots), 0) if rng.random() < 0.5 else int(rng.geometric(0.4)) - 1
    return slots + [_Slot(MASK, EOS)] * n_surplus


def _masks(run: list[int], rng: np.random.Generator) -> list[_Slot]:
    """A mask for each token, or fewer of which the last asks for more."""
    n = len(run) if rng.random() < 0.4 else int(rng.integers(1, len(run) + 1))
    if rng.random() < 0.3:
        n = min(START, len(run))
    slots = [_Slot(MASK, token) for token in run[:n]]
    return slots if n == len(run) else [*slots[:-1], _Slot(MASK, EXPAND)]


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
