"""The fixed test sets: the same questions every time, none of which a nano model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random

from hoshikage.checks import nearest
from hoshikage.errors import ParameterError
from hoshikage.evaluate.tasks import TASKS, Item, Task, Turn

SEED = 7
N_PER_TASK = 48  # as the cards of the embedded models have them
MOST_IN_VAIN = 1000  # draws of what was there already: then there is no more


def chosen_tasks(names: Iterable[str]) -> list[str]:
    """The names as given, or every task; an unknown one is refused."""
    chosen = list(dict.fromkeys(names)) or list(TASKS)
    for name in chosen:
        if name not in TASKS:
            raise ParameterError(
                "--task", f"there is no task {name!r}{nearest(name, TASKS)}", f"use {', '.join(TASKS)}"
            )
    return chosen


def questions(n_per_task: int = N_PER_TASK, tasks: Sequence[str] = (), seed: int = SEED) -> list[Item]:
    """n_per_task questions of each task, from the test split, no two the same: fewer where there are no more. A task's
    questions do not depend on the others."""
    return [item for name in chosen_tasks(tasks) for item in islice(_distinct(TASKS[name], seed), n_per_task)]


def _distinct(task: Task, seed: int) -> Iterator[Item]:
    """Every question once, and when there are no more, again in other words."""
    rng = Random(f"{seed}/{task.name}")
    asked: set[str] = set()
    met: set[tuple[Turn, ...]] = set()
    for in_other_words in (False, True):
        n_in_vain = 0
        while n_in_vain < MOST_IN_VAIN:
            item = task.draw(rng, "test")
            n_in_vain += 1
            if item.turns not in met if in_other_words else item.question not in asked:
                n_in_vain = 0
                asked.add(item.question)
                met.add(item.turns)
                yield item
