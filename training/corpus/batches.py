"""Batches: examples of like length together, the rest of every canvas filled with EOS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..tokenizer import ASSISTANT, EOS, ROLES
from .example import Example, encode_chat, encode_document
from .mix import NO_PRACTICE, draw

LENGTHS = (48, 64, 80, 96, 128, 192, 256, 512)
"""Canvas lengths; a few fixed ones, so that a compiled step is reused."""


@dataclass(frozen=True)
class Batch:
    """ids (rows, length); lo and hi bound the reply of every row, hi excludes the padding."""

    ids: NDArray[np.int64]
    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    is_chat: NDArray[np.bool_]

    @property
    def said(self) -> NDArray[np.bool_]:
        """Whether a position belongs to a reply, be it the last one or one before it."""
        position = np.arange(self.ids.shape[1])
        begins = np.maximum.accumulate(np.where(np.isin(self.ids, list(ROLES.values())), position, 0), axis=1)
        by_assistant = (np.take_along_axis(self.ids, begins, 1) == ASSISTANT) & (begins < position)
        said: NDArray[np.bool_] = (by_assistant | ~self.is_chat[:, None]) & (position < self.hi[:, None])
        return said


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


class Stream:
    """Endless batches of about n_tokens each. The same seed gives the same batches, also across a stop: `state`."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int | str,
        n_tokens: int,
        document_share: float = 0.12,
        stretch: float = 0.15,
        practice: Mapping[str, float] = NO_PRACTICE,
    ) -> None:
        self._tokenizer, self._n_tokens, self._practice = tokenizer, n_tokens, practice
        self._document_share, self._stretch = document_share, stretch
        self._rng = Random(seed)
        self._waiting: dict[int, list[Example]] = {length: [] for length in LENGTHS}
        self.n_drawn = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while True:
            example = self._example()
            length = _canvas_length(self._rng, len(example.ids), self._stretch)
            group = self._waiting[length]
            group.append(example)
            if len(group) >= max(1, self._n_tokens // length):
                self._waiting[length] = []
                self.n_drawn += 1
                return _stack(group, length)

    def _example(self) -> Example:
        item = draw(self._rng, self._practice)
        if self._rng.random() < self._document_share:
            return encode_document(self._tokenizer, item, self._rng)
        return encode_chat(self._tokenizer, item)

    @property
    def state(self) -> dict[str, Any]:
        """Plain lists and numbers, to be kept beside the weights."""
        waiting = {length: [astuple(example) for example in group] for length, group in self._waiting.items()}
        return {"n_drawn": self.n_drawn, "random": self._rng.getstate(), "waiting": waiting}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.n_drawn = state["n_drawn"]
        self._rng.setstate(state["random"])
        self._waiting = {length: [Example(*one) for one in group] for length, group in state["waiting"].items()}
