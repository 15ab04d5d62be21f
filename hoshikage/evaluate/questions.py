"""The fixed test sets: the same questions every time, none of which a nano model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from hoshikage.checks import nearest
from hoshikage.errors import ParameterError
from hoshikage.evaluate.tasks import TASKS, Item

SEED = 7
N_PER_TASK = 50


def chosen_tasks(names: Iterable[str]) -> list[str]:
    """The names as given, or every task; an unknown one is refused."""
    chosen = list(names) or list(TASKS)
    for name in chosen:
        if name not in TASKS:
            raise ParameterError("task", f"there is no task {name!r}{nearest(name, TASKS)}", f"use {', '.join(TASKS)}")
    return chosen


def questions(n_per_task: int = N_PER_TASK, tasks: Sequence[str] = (), seed: int = SEED) -> list[Item]:
    """n_per_task questions of each task, from the test split. A task's questions do not depend on the others."""
    items: list[Item] = []
    for name in chosen_tasks(tasks):
        rng = Random(f"{seed}/{name}")
        items += [TASKS[name].draw(rng, "test") for _ in range(n_per_task)]
    return items
