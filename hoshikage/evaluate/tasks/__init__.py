"""The questions the nano models are trained and judged on. One family, one file, one line here."""

from __future__ import annotations

from . import arithmetic, calendar, convert, extract, japanese, letters, order, python, story, talk
from .conversation import conversation_of
from .item import Item, Split, Task, Turn

FAMILIES = (arithmetic, letters, order, calendar, convert, extract, python, talk, japanese, story)
_ALONE = tuple(task for family in FAMILIES for task in family.TASKS)
_ANYWHERE = tuple(task for task in _ALONE if task.name != "persona")  # a persona is a system turn's
_IN_A_CHAT = conversation_of(_ANYWHERE, (talk.SMALL_TALK,), "conversation", 12.0)
TASKS: dict[str, Task] = {task.name: task for task in (*_ALONE, _IN_A_CHAT)}
"""Every task with checkable answers, by name."""

UNCHECKED: tuple[Task, ...] = (talk.SMALL_TALK, *extract.EXERCISES)
"""Trained only: fixed exchanges, whose questions cannot be held back, and exercises for what others ask."""


def is_free(item: Item) -> bool:
    """Whether a gap in its answer may be filled otherwise than in the original: a story has many."""
    asked = item.expected if item.task == _IN_A_CHAT.name else item
    return bool(asked.task == "story")


__all__ = ["FAMILIES", "TASKS", "UNCHECKED", "Item", "Split", "Task", "Turn", "is_free"]
