"""Sorting and counting: words by their first letter, numbers by size, ranges and lists counted through."""

from __future__ import annotations

import re
from random import Random

from .arithmetic import check_number
from .item import Item, Task, ask, commits
from .words import ANIMALS, FRUITS, THINGS, distinct_initials, listing

_WORDS = ("Sort these words: {w}.", "Sort alphabetically: {w}.", "Put in alphabetical order: {w}.")
_NUMBERS = ("Sort these numbers: {n}.", "Put in order, smallest first: {n}.", "Sort from small to large: {n}.")
_RANGES = ("Count from {a} to {b}.", "Count up from {a} to {b}.", "List the numbers from {a} to {b}.")
_STEPS = ("Count from {a} to {b} in steps of {s}.", "Count from {a} to {b} by {s}.")


def make_sort_words(rng: Random) -> Item:
    """The keys are spelled first: the first letter beside each word, then the letters in order with their words."""
    words = distinct_initials(rng, rng.choice((3, 3, 4, 5)))
    keyed = ", ".join(f"{word[0]} {word}" for word in words)
    ordered = sorted(words)
    key = " ".join(ordered)
    answer = f"Letters: {keyed}. Sorted: {listing(ordered)}."
    return ask("sort-words", key, rng.choice(_WORDS).format(w=listing(words)), answer, ordered)


def make_sort_numbers(rng: Random) -> Item:
    """The tens are the keys and stand beside each number: 4 is none of the forties."""
    numbers = rng.sample(range(1, 100), rng.choice((3, 3, 4, 5)))
    text = ", ".join(map(str, numbers))
    keyed = ", ".join(f"{n // 10} {n}" for n in numbers)
    ordered = [str(n) for n in sorted(numbers)]
    answer = f"Tens: {keyed}. Sorted: {listing(ordered)}."
    return ask("sort-numbers", " ".join(ordered), rng.choice(_NUMBERS).format(n=text), answer, ordered)


def make_count(rng: Random) -> Item:
    step = rng.choice((1, 1, 1, 2, 5, 10))
    first = rng.randint(1, 60)
    last = first + step * rng.randint(2, 8)
    numbers = [str(n) for n in range(first, last + 1, step)]
    wording = rng.choice(_RANGES if step == 1 else _STEPS).format(a=first, b=last, s=step)
    return ask("counting", f"{first} {last} {step}", wording, f"{listing(numbers)}.", numbers)


def make_how_many(rng: Random) -> Item:
    kind, pool = rng.choice((("animals", ANIMALS), ("fruits", FRUITS), ("things", THINGS)))
    words = rng.sample(pool, rng.randint(2, 7))
    counted = ", ".join(f"{number} {word}" for number, word in enumerate(words, 1))
    question = rng.choice((f"How many {kind} are these: {listing(words)}?", f"Count the {kind}: {listing(words)}."))
    return ask("how-many", " ".join(sorted(words)), question, f"{counted}. {len(words)} {kind}.", len(words))


def check_list(item: Item, reply: str) -> bool:
    """The words or numbers after the last colon, all of them, in order, and nothing else."""
    listed = reply.rpartition(":")[2].strip().rstrip(".!")
    return commits(reply) and re.split(r"[\s,;]+", listed) == item.expected


TASKS = (
    Task("sort-words", make_sort_words, check_list, 1.8),
    Task("sort-numbers", make_sort_numbers, check_list, 1.4),
    Task("counting", make_count, check_list, 4.0),
    Task("how-many", make_how_many, check_number, 0.4),
)
