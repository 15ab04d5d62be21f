"""Infilling gaps of unknown length (DreamOn): a mask may stand for several tokens, or for none.

A decoder begins with a few masks, whatever the gap, and settles them until one is left for all that is still to come.
So a gap is shown as its first tokens, settled but for a few, and some masks for the rest. Where they are too few, the
last of them has <expand> as its target: a decoder replaces it by two masks. Where they are too many, those at the end
have EOS as their target, and a decoder takes them out. So each mask has one right answer, by its place; and how often
few masks stand for much is as a decoder meets it: where it was rare, a decoder hardly expanded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hoshikage.engine.gaps import START

from ..corpus import Batch
from ..tokenizer import EOS, EXPAND, MASK
from .base import Sample

MAX_GAP = 24
N_MASKS = (0.25, 0.4, 0.1, 0.25)  # of 1, 2, 3 and START masks for the rest: two is what <expand> leaves
EXPAND_WEIGHT = 2.5  # a gap that stays too short is wrong for good; one that is too long can still be shortened
BETWEEN = 6  # tokens from one gap to the next, on average


@dataclass(frozen=True)
class _Slot:
    """One position of the rewritten text: what a model sees there and what it should say."""

    shown: int
    target: int


def _shown(tokens: list[int]) -> list[_Slot]:
    return [_Slot(token, token) for token in tokens]


def _gap(tokens: list[int], rng: np.random.Generator) -> list[_Slot]:
    """A gap on its way: its first tokens, a few of them masked yet, and masks for the rest, maybe for nothing."""
    n_settled = int(rng.integers(0, len(tokens) + 1)) if rng.random() < 0.7 else 0
    is_open = rng.random(n_settled) < rng.random() ** 2
    front = [_Slot(MASK if hidden else token, token) for token, hidden in zip(tokens[:n_settled], is_open, strict=True)]
    return front + _masks(tokens[n_settled:], int(rng.choice(START, p=N_MASKS)) + 1)


def _masks(rest: list[int], n: int) -> list[_Slot]:
    """So many masks for what is left of a gap."""
    slots = [_Slot(MASK, token) for token in rest[:n]] + [_Slot(MASK, EOS)] * (n - len(rest))
    return slots if n >= len(rest) else [*slots[:-1], _Slot(MASK, EXPAND)]


def _with_gaps(reply: list[int], rng: np.random.Generator) -> list[_Slot]:
    """A reply with one gap or several, all of them open."""
    slots: list[_Slot] = []
    lo = 0
    n_before = int(rng.integers(0, len(reply)))  # the first may be anywhere
    while lo < len(reply):
        start = min(lo + n_before, len(reply) - 1) if not slots else lo + n_before
        if start >= len(reply):
            break
        end = start + int(rng.integers(1, min(len(reply) - start, MAX_GAP) + 1))
        slots += _shown(reply[lo:start]) + _gap(reply[start:end], rng)
        lo, n_before = end, int(rng.geometric(1 / BETWEEN))
    return slots + _shown(reply[lo:])


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
        row, lo, hi = batch.ids[k], max(int(batch.lo[k]), 1), int(batch.hi[k])
        slots = _with_gaps(row[lo:hi].tolist(), rng)[: len(inputs) - lo]
        end = lo + len(slots)
        inputs[:lo] = targets[:lo] = row[:lo]
        inputs[lo:end] = [slot.shown for slot in slots]
        targets[lo:end] = [slot.target for slot in slots]
        weight[lo:end] = np.where(targets[lo:end] == EXPAND, EXPAND_WEIGHT, 1.0) * (inputs[lo:end] == MASK)
