"""The questions the nano models are trained and judged on. One family, one file, one line here."""

from __future__ import annotations

from . import arithmetic, calendar, convert, extract, japanese, letters, order, python, story, talk
from .item import Item, Split, Task, Turn

FAMILIES = (arithmetic, letters, order, calendar, convert, extract, python, talk, japanese, story)
TASKS: dict[str, Task] = {task.name: task for family in FAMILIES for task in family.TASKS}
"""Every task with checkable answers, by name."""

UNCHECKED: tuple[Task, ...] = (talk.SMALL_TALK, *extract.EXERCISES)
"""Trained only: fixed exchanges, whose questions cannot be held back, and exercises for what others ask."""

__all__ = ["FAMILIES", "TASKS", "UNCHECKED", "Item", "Split", "Task", "Turn"]
