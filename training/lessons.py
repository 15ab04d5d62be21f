"""What a model is taught, in order: the same from the same seed, dealt out to the members of a team."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import tokenizer as vocabulary
from .corpus import Stream
from .objective import Sample
from .recipe import Recipe
from .team import ALONE, Team


class Lessons:
    """Endless samples of a recipe's objective, those that are this member's."""

    def __init__(self, recipe: Recipe, team: Team = ALONE) -> None:
        self._objective, self._team = recipe.objective, team
        # A model of its own order of questions: grown from another, it would meet again what that was taught with.
        self._seed = zlib.crc32(f"{recipe.seed}/{recipe.name}".encode())
        share = recipe.batch_tokens // team.size
        tokenizer = vocabulary.load()
        self._stream = Stream(tokenizer, self._seed, share, stretch=recipe.stretch, practice=recipe.practice)

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        while True:
            number = self._stream.n_drawn
            batch = next(self._stream)
            if number % self._team.size == self._team.rank:
                return self._objective.sample(batch, np.random.default_rng((self._seed, number)))

    @property
    def state(self) -> dict[str, Any]:
        return self._stream.state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._stream.state = state
        while self._stream.n_drawn % self._team.size:  # the others' batches of the last step
            next(self._stream)
