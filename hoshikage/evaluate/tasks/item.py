"""What a task is: how to ask, a right reply, and the program that judges any other reply."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

Split = Literal["train", "test"]
TEST_SHARE = 10
"""One item in so many belongs to the test sets and never to the training data."""
_TAKEN_BACK = re.compile(r"\b(?:not|never|cannot|no|neither|nor|or)\b|n['’]t\b", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Item:
    """One question. `key` names the question apart from its wording. The split looks at nothing but that, or at what
    `decides` in its place."""

    task: str
    key: str
    turns: tuple[Turn, ...]
    answer: str
    expected: Any = field(hash=False)
    decides: str = ""

    @property
    def question(self) -> str:
        return self.decides or f"{self.task}/{self.key}"

    @property
    def split(self) -> Split:
        digest = hashlib.blake2b(self.question.encode(), digest_size=4).digest()
        return "test" if int.from_bytes(digest, "big") % TEST_SHARE == 0 else "train"


@dataclass(frozen=True)
class Task:
    """`make` draws a question; `passes` says whether a reply answers it. `weight` is its share of the training data.
    `tests` says of a question whether a test set may have it."""

    name: str
    make: Callable[[Random], Item]
    passes: Callable[[Item, str], bool]
    weight: float = 1.0
    tests: Callable[[Item], bool] = lambda _: True

    def draw(self, rng: Random, split: Split) -> Item:
        while True:
            item = self.make(rng)
            if item.split == split and (split == "train" or self.tests(item)):
                return item


def ask(task: str, key: str, question: str, answer: str, expected: Any, decides: str = "") -> Item:
    """A question of a single user turn."""
    return Item(task, key, (Turn("user", question),), answer, expected, decides)


def commits(reply: str) -> bool:
    """Whether it says one thing and stands by it: the right word in a denial or among others is no answer."""
    return _TAKEN_BACK.search(reply) is None


def check_same(item: Item, reply: str) -> bool:
    return bool(reply.strip() == item.expected)
