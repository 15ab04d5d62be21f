"""Addition and subtraction, worked column by column from the right."""

from __future__ import annotations

import re
from random import Random

from .item import Item, Task, ask, commits
from .words import FRUITS, NAMES

_PLAIN = ("What is {a}{op}{b}?", "What is {a} {op} {b}?", "{a}{op}{b}=?", "{a} {op} {b} =", "Compute {a}{op}{b}.")
_ADD = (*_PLAIN, "Add {a} and {b}.", "What is {a} plus {b}?", "How much is {a}+{b}?")
_SUB = (*_PLAIN, "Subtract {b} from {a}.", "What is {a} minus {b}?", "How much is {a}-{b}?")
_NUMBER = re.compile(r"(?:(?<![\d)])[-−])?\d+(?:[.,]\d+)*")
_WHOLE = re.compile(r"-?(?:\d{1,30}|\d{1,3}(?:,\d{3}){1,9})")


def _number(rng: Random) -> int:
    kind = rng.random()
    if kind < 0.2:
        return rng.randint(0, 9)
    return rng.randint(10, 99) if kind < 0.85 else rng.randint(100, 999)


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    """The digits of both numbers, right to left, the shorter one filled up with zeros."""
    width = max(len(str(a)), len(str(b)))
    return list(zip(map(int, reversed(f"{a:0{width}d}")), map(int, reversed(f"{b:0{width}d}")), strict=True))


def work_sum(a: int, b: int) -> str:
    steps, carry = [], 0
    for x, y in _columns(a, b):
        total = x + y + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return f"{', '.join(steps)}, so {a}+{b}={a + b}."


def work_difference(a: int, b: int) -> str:
    steps, borrow = [], 0
    for x, y in _columns(a, b):
        left = x if x >= y + borrow else x + 10
        steps.append(f"{left}-{y}{'-1' if borrow else ''}={left - y - borrow}")
        borrow = left // 10
    return f"{', '.join(steps)}, so {a}-{b}={a - b}."


def make_add(rng: Random) -> Item:
    a, b = _number(rng), _number(rng)
    key, answer = f"{min(a, b)}+{max(a, b)}", work_sum(a, b)
    if rng.random() < 0.15:
        name, fruit = rng.choice(NAMES), rng.choice(FRUITS)
        question = f"{name} has {a} {fruit}s and buys {b} more. How many {fruit}s does {name} have?"
        return ask("addition", key, question, f"{answer} {name} has {a + b} {fruit}s.", a + b)
    return ask("addition", key, rng.choice(_ADD).format(a=a, b=b, op="+"), answer, a + b)


def make_subtract(rng: Random) -> Item:
    b, a = sorted((_number(rng), _number(rng)))
    key, answer = f"{a}-{b}", work_difference(a, b)
    if rng.random() < 0.15:
        name, fruit = rng.choice(NAMES), rng.choice(FRUITS)
        question = f"{name} has {a} {fruit}s and eats {b}. How many {fruit}s are left?"
        return ask("subtraction", key, question, f"{answer} {a - b} {fruit}s are left.", a - b)
    return ask("subtraction", key, rng.choice(_SUB).format(a=a, b=b, op="-"), answer, a - b)


def whole(digits: str) -> int | None:
    """As people write it, 1,234 or 1234; one with decimals is no whole number."""
    return int(digits.replace(",", "")) if _WHOLE.fullmatch(digits) else None


def last_number(reply: str) -> int | None:
    found = _NUMBER.findall(reply)
    return whole(found[-1]) if found else None


def check_number(item: Item, reply: str) -> bool:
    """The last number is the one asked for, and not only the next of those that things are told off by."""
    n = item.expected
    return last_number(reply) == n and commits(reply) and not _is_still_counting(reply, n)


def _is_still_counting(reply: str, n: int) -> bool:
    """As in `1 fox, 2 cat`, which has not come to how many there are."""
    return re.search(rf"\b{n - 1}\W+\w+ *[,;\n]\s*{n}\b\D*$", reply) is not None


TASKS = (Task("addition", make_add, check_number, 1.6), Task("subtraction", make_subtract, check_number, 1.6))
