"""The small world the questions are about: names, animals, places, things. Every list is disjoint from the others."""

# ruff: noqa: SIM905 -- word lists read better as sentences
from __future__ import annotations

import re
from random import Random

NAMES = (
    "Mia Tom Ana Ben Kim Leo Eva Max Zoe Sam Ida Jon Nora Otto Rosa Hugo Lena Paul Yuki Ken "
    "Emma Finn Clara David Sara Peter Julia Oscar Hana Akira"
).split()
ANIMALS = "fox cat dog owl bear mouse horse rabbit frog duck goat lion tiger wolf crow deer hen pig bee turtle".split()
CITIES = "Oslo Rome Paris Tokyo Berlin Madrid Lima Cairo Osaka Dublin Vienna Prague Kyoto London Athens Lisbon".split()
PLACES = "forest garden village valley desert castle harbor meadow tower cave".split()
FRUITS = "apple pear plum lemon mango grape banana melon quince fig orange kiwi".split()
THINGS = "lamp book key drum boat hat cup stone rope bell coin map kite box ladder violin".split()
COLOURS = "red blue green yellow black white brown pink".split()
JOBS = "baker doctor teacher farmer pilot painter sailor nurse singer judge".split()
SORTABLE = FRUITS + THINGS + ANIMALS + COLOURS + JOBS
_ASKED_FOR = (*NAMES, *CITIES, *ANIMALS, *COLOURS, *FRUITS)
_FORMS = {f"{word.lower()}{ending}": word for word in _ASKED_FOR for ending in ("", "s", "es")}

_ONSETS = "b d f g h k l m n p r s t v w z st tr".split()
_VOWELS = "a e i o u".split()


def distinct_initials(rng: Random, n: int) -> list[str]:
    """n sortable words, no two with the same first letter."""
    chosen: dict[str, str] = {}
    while len(chosen) < n:
        word = rng.choice(SORTABLE)
        chosen.setdefault(word[0], word)
    words = list(chosen.values())
    rng.shuffle(words)
    return words


def coined(rng: Random) -> str:
    """A word that nobody has seen: two or three syllables."""
    word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 2, 2, 3))))
    return word + rng.choice(("", "", "n", "r", "t"))


def spellable(rng: Random, longest: int = 7) -> str:
    """A word to be taken apart letter by letter, known or coined."""
    while True:
        word = rng.choice(SORTABLE) if rng.random() < 0.4 else coined(rng)
        if len(word) <= longest:
            return word


def mentioned(text: str) -> list[str]:
    """The names, cities, animals, colours and fruits in it, one or many, in capitals or not."""
    return [_FORMS[word] for word in re.findall(r"\w+", text.lower()) if word in _FORMS]


def articled(text: str) -> str:
    """An owl, not a owl."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def listing(words: list[str]) -> str:
    return ", ".join(words)
