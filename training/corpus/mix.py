"""Which question comes next: tasks by weight, never one that belongs to a test set."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from hoshikage.evaluate.tasks import TASKS, UNCHECKED, Item, Task

_ALL: tuple[Task, ...] = (*TASKS.values(), *UNCHECKED)
_WEIGHTS = [task.weight for task in _ALL]


def draw(rng: Random) -> Item:
    task = rng.choices(_ALL, _WEIGHTS)[0]
    return task.make(rng) if task in UNCHECKED else task.draw(rng, "train")


def tokenizer_texts(seed: int = 20, n_items: int = 20_000) -> Iterator[str]:
    """What the tokenizer is trained on: every turn and answer of a fixed draw."""
    rng = Random(seed)
    for _ in range(n_items):
        item = draw(rng)
        yield from (turn.text for turn in item.turns)
        yield item.answer
