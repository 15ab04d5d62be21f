"""Which question comes next: tasks by weight, never one that belongs to a test set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from types import MappingProxyType

from hoshikage.evaluate.tasks import TASKS, UNCHECKED, Item, Task

_ALL: tuple[Task, ...] = (*TASKS.values(), *UNCHECKED)
NO_PRACTICE: Mapping[str, float] = MappingProxyType({})


def draw(rng: Random, practice: Mapping[str, float] = NO_PRACTICE) -> Item:
    """`practice`: other weights than the tasks' own."""
    task = rng.choices(_ALL, [practice.get(task.name, task.weight) for task in _ALL])[0]
    return task.make(rng) if task in UNCHECKED else task.draw(rng, "train")


def tokenizer_texts(seed: int = 20, n_items: int = 20_000) -> Iterator[str]:
    """What the tokenizer is trained on: every turn and answer of a fixed draw."""
    rng = Random(seed)
    for _ in range(n_items):
        item = draw(rng)
        yield from (turn.text for turn in item.turns)
        yield item.answer
