"""Short stories from a grammar: one hero, one friend, one place, nobody changes kind on the way.

Anybody may be the hero, and any animal. The friends are few, people with a job and with names of their own: where a
hero's name could be a friend's, too, the likeliest of many equally likely names was the hero's own, and Tom met Tom.
Their jobs are those that the tokenizer has a token for: what is chosen freely is chosen at once.
"""

# ruff: noqa: SIM905 -- word lists read better as sentences
from __future__ import annotations

import re
from functools import cache
from itertools import product
from random import Random

from .item import Item, Task, ask
from .words import ANIMALS, NAMES, PLACES, THINGS, articled

_ASK = (
    "Tell me a story about {h} the {a} in the {p}.",
    "Write a short story: {h}, a {a}, lives in the {p}.",
    "A story about a {a} named {h} in the {p}, please.",
)
_FRIENDS = "Pip Dot Momo Fay Abe Ivy Sid Rex".split()
_JOBS = "doctor teacher pilot judge".split()
_MOODS = "small brave old happy quiet clever".split()
_TIMES = ("One day", "One morning", "In the evening", "One night")
_OPEN = ("{h} was a {m} {a} in the {p}.",)
_MEET = (
    "{t}, {h} found a {x} and met {f} the {b}.",
    "{t}, {h} met {f} the {b}, who had lost a {x}.",
    "{t}, {f} the {b} came to the {p} with a {x}.",
)
_MIDDLE = (
    'The {b} asked: "Can you help me?" {h} said yes.',
    "{h} and {f} looked at the {x} together.",
    "{f} gave the {x} to {h}, and the {a} was glad.",
    "{h} showed {f} the way through the {p}.",
)
_END = (
    "Since then {h} and {f} are friends.",
    "Then the {a} and the {b} went home.",
    "In the end {h} the {a} was not alone.",
    "The {p} was quiet again, and {h} slept well.",
)


_CAST = {"h": NAMES, "a": ANIMALS, "p": PLACES, "f": _FRIENDS, "b": _JOBS, "x": THINGS, "m": _MOODS, "t": _TIMES}


def make(rng: Random) -> Item:
    hero, animal = rng.choice(NAMES), rng.choice(ANIMALS)
    friend, job = rng.choice(_FRIENDS), rng.choice(_JOBS)
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    cast = {"h": hero, "f": friend, "a": animal, "b": job, "p": place, "x": thing}
    cast |= {"t": rng.choice(_TIMES), "m": rng.choice(_MOODS)}
    sentences = [rng.choice(kind) for kind in (_OPEN, _MEET, _MIDDLE, _END)]
    story = articled(" ".join(sentence.format(**cast) for sentence in sentences))
    question = articled(rng.choice(_ASK).format(**cast))
    return ask("story", f"{hero} {animal} {place}", question, story, (hero, animal, place))


def check(item: Item, reply: str) -> bool:
    """Sentence by sentence one of ours, in their order: the hero, the animal and the place are those asked for, and
    one friend, the friend's job and one thing stay the same throughout."""
    text = " ".join(reply.split())
    for pattern in _patterns():
        if told := pattern.fullmatch(text):
            cast = told.groupdict()
            return bool((cast["h"], cast["a"], cast["p"]) == item.expected)
    return False


@cache
def _patterns() -> list[re.Pattern[str]]:
    return [_pattern(" ".join(sentences)) for sentences in product(_OPEN, _MEET, _MIDDLE, _END)]


def _pattern(template: str) -> re.Pattern[str]:
    """Whoever is named a second time is the same as the first time."""
    pattern = re.sub(r"\\\{(\w)\\\}", r"(?P=\1)", re.escape(template))
    for letter, values in _CAST.items():
        pattern = pattern.replace(f"(?P={letter})", f"(?P<{letter}>{'|'.join(values)})", 1)
    return re.compile(re.sub(r"\b([Aa])(?=\\ \()", r"\1n?", pattern))


TASKS = (Task("story", make, check, 1.4),)
