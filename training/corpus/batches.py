"""Batches: examples of like length together, the rest of every canvas filled with EOS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..tokenizer import EOS
from .example import Example, encode_chat, encode_document
from .mix import draw

LENGTHS = (48, 64, 80, 96, 128, 192, 256, 512)
"""Canvas lengths; a few fixed ones, so that a compiled step is reused."""


@dataclass(frozen=True)
class Batch:
    """ids (rows, length); lo and hi bound the reply of every row, hi excludes the padding."""

    ids: NDArray[np.int64]
    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    is_chat: NDArray[np.bool_]


def _canvas_length(rng: Random, n: int, stretch: float) -> int:
    """The shortest length that fits; with probability `stretch` any that fits, the longest ones rarely."""
    fitting = [length for length in LENGTHS if length >= n]
    if not fitting:
        raise ValueError(f"an example of {n} tokens does not fit the longest canvas of {LENGTHS[-1]}")
    if rng.random() >= stretch:
        return fitting[0]
    return rng.choices(fitting, [min(1.0, (192 / length) ** 3) for length in fitting])[0]


def _stack(examples: list[Example], length: int) -> Batch:
    ids = np.full((len(examples), length), EOS, np.int64)
    for row, example in zip(ids, examples, strict=True):
        row[: len(example.ids)] = example.ids
    lo, hi = (np.array([getattr(e, name) for e in examples], np.int64) for name in ("lo", "hi"))
    return Batch(ids, lo, hi, np.array([e.is_chat for e in examples], np.bool_))


def batches(
    tokenizer: Tokenizer, seed: int, n_tokens: int, document_share: float = 0.12, stretch: float = 0.15
) -> Iterator[Batch]:
    """Endless batches of about n_tokens each. The same seed gives the same batches."""
    rng = Random(seed)
    waiting: dict[int, list[Example]] = {length: [] for length in LENGTHS}
    while True:
        item = draw(rng)
        is_document = rng.random() < document_share
        example = encode_document(tokenizer, item, rng) if is_document else encode_chat(tokenizer, item)
        length = _canvas_length(rng, len(example.ids), stretch)
        waiting[length].append(example)
        if len(waiting[length]) >= max(1, n_tokens // length):
            yield _stack(waiting[length], length)
            waiting[length] = []
