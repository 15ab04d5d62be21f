"""Days and months, before and after, told off one by one."""

# ruff: noqa: SIM905 -- word lists read better as sentences
from __future__ import annotations

import re
from itertools import pairwise
from random import Random

from .item import Item, Task, ask, commits

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()


def _steps(names: list[str], start: int, n: int, direction: int) -> list[str]:
    return [names[(start + direction * k) % len(names)] for k in range(1, n + 1)]


def _make(rng: Random, unit: str, names: list[str], furthest: int) -> Item:
    start, n = rng.randrange(len(names)), rng.randint(1, furthest)
    side, direction = rng.choice((("after", 1), ("before", -1)))
    told = _steps(names, start, n, direction)
    counted = ", ".join(f"{k} {name}" for k, name in enumerate(told, 1))
    plural = unit if n == 1 else f"{unit}s"
    wordings = [
        f"What {unit} is {n} {plural} {side} {names[start]}?",
        f"Which {unit} comes {n} {plural} {side} {names[start]}?",
    ]
    if n == 1:
        wordings.append(f"What {unit} comes {side} {names[start]}?")
    key = f"{names[start]} {direction * n}"
    return ask("calendar", key, rng.choice(wordings), f"{counted}. It is {told[-1]}.", told[-1])


def make(rng: Random) -> Item:
    return _make(rng, "day", DAYS, 9) if rng.random() < 0.55 else _make(rng, "month", MONTHS, 7)


def check(item: Item, reply: str) -> bool:
    """The last one named. Behind a number it is told off: `1 Tuesday, 2 Wednesday` has come to no answer yet."""
    words = pairwise(["", *re.findall(r"\w+", reply)])
    named = [("" if before.isdecimal() else word) for before, word in words if word in DAYS or word in MONTHS]
    return commits(reply) and named[-1:] == [item.expected]


TASKS = (Task("calendar", make, check, 1.0),)
