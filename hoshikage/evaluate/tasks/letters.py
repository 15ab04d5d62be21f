"""Words taken apart: backwards, in capitals, letter by letter."""

from __future__ import annotations

import re
from random import Random

from .arithmetic import check_number
from .item import Item, Task, ask, commits
from .words import spellable

_BACKWARDS = ("Write '{w}' backwards.", "Reverse '{w}'.", "What is '{w}' backwards?", "Spell '{w}' from the end.")
_CAPITALS = ("Write '{w}' in capitals.", "Put '{w}' in upper case.", "What is '{w}' in capital letters?")
_LETTERS = ("How many letters are in '{w}'?", "Count the letters of '{w}'.", "How long is the word '{w}'?")
_QUOTED = re.compile(r"(?<!\w)(['\"])(.+?)\1(?!\w)")


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
    """The last word in quotes, where nothing else is quoted but the word asked about; a quoted `not` denies nothing.
    Without quotes it stands alone, or at the end of a sentence that says what it is."""
    if quoted := [word for _, word in _QUOTED.findall(reply)]:
        is_plain = commits(_QUOTED.sub("", reply))
        return is_plain and quoted[-1] == item.expected and {*quoted} <= {item.key, item.expected}
    *before, conclusion = re.split(r"\bis\b|:", reply)
    return re.findall(r"\w+", conclusion) == [item.expected] and all(map(commits, before))


TASKS = (
    Task("reverse", make_reverse, check_word, 1.2),
    Task("capitals", make_capitals, check_word, 0.5),
    Task("letters", make_letters, check_number, 0.5),
)
