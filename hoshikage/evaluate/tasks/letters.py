"""Words taken apart: backwards, in capitals, letter by letter."""

from __future__ import annotations

import re
from random import Random

from .arithmetic import last_number
from .item import Item, Task, ask
from .words import spellable

_BACKWARDS = ("Write '{w}' backwards.", "Reverse '{w}'.", "What is '{w}' backwards?", "Spell '{w}' from the end.")
_CAPITALS = ("Write '{w}' in capitals.", "Put '{w}' in upper case.", "What is '{w}' in capital letters?")
_LETTERS = ("How many letters are in '{w}'?", "Count the letters of '{w}'.", "How long is the word '{w}'?")


def make_reverse(rng: Random) -> Item:
    word = spellable(rng)
    return ask("reverse", word, rng.choice(_BACKWARDS).format(w=word), f"'{word[::-1]}'", word[::-1])


def make_capitals(rng: Random) -> Item:
    word = spellable(rng)
    return ask("capitals", word, rng.choice(_CAPITALS).format(w=word), f"'{word.upper()}'", word.upper())


def make_letters(rng: Random) -> Item:
    word = spellable(rng)
    counted = ", ".join(f"{number} {letter}" for number, letter in enumerate(word, 1))
    return ask("letters", word, rng.choice(_LETTERS).format(w=word), f"{counted}. {len(word)} letters.", len(word))


def check_word(item: Item, reply: str) -> bool:
    """The last word of the reply, quotes or not."""
    found = re.findall(r"[A-Za-z]+", reply)
    return bool(found) and found[-1] == item.expected


def check_count(item: Item, reply: str) -> bool:
    return bool(last_number(reply) == item.expected)


TASKS = (
    Task("reverse", make_reverse, check_word, 1.2),
    Task("capitals", make_capitals, check_word, 0.5),
    Task("letters", make_letters, check_count, 0.5),
)
