"""Short stories from a grammar: one hero, one friend, one place, nobody changes kind on the way.

Anybody may be the hero; the friends are few and have names of their own. Where a hero's name could be a friend's, too,
the likeliest of many equally likely names was the hero's own, and Tom met Tom.
"""

# ruff: noqa: SIM905 -- word lists read better as sentences
from __future__ import annotations

import re
from random import Random

from .item import Item, Task, ask
from .words import ANIMALS, NAMES, PLACES, THINGS, articled

_ASK = (
    "Tell me a story about {h} the {a} in the {p}.",
    "Write a short story: {h}, a {a}, lives in the {p}.",
    "A story about a {a} named {h} in the {p}, please.",
)
_FRIENDS = "Pip Dot Momo Fay Abe Ivy Sid Rex".split()
_KINDS = ANIMALS[:8]
_MOODS = "small brave old happy quiet clever".split()
_TIMES = ("One day", "One morning", "In the evening", "One night")
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


def make(rng: Random) -> Item:
    hero, animal = rng.choice(NAMES), rng.choice(ANIMALS)
    friend = rng.choice(_FRIENDS)
    other = rng.choice([kind for kind in _KINDS if kind != animal])
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    cast = {"h": hero, "f": friend, "a": animal, "b": other, "p": place, "x": thing, "t": rng.choice(_TIMES)}
    sentences = [
        f"{hero} was a {rng.choice(_MOODS)} {animal} in the {place}.",
        rng.choice(_MEET),
        rng.choice(_MIDDLE),
        rng.choice(_END),
    ]
    story = articled(" ".join(sentence.format(**cast) for sentence in sentences))
    question = articled(rng.choice(_ASK).format(**cast))
    return ask("story", f"{hero} {animal} {place}", question, story, (hero, animal, place))


def check(item: Item, reply: str) -> bool:
    """The hero, the animal and the place are those asked for, there is one friend at most, and the story ends."""
    hero, animal, place = item.expected
    words = re.findall(r"[A-Za-z]+", reply)
    names, animals = {w for w in words if w in NAMES + _FRIENDS}, {w for w in words if w in ANIMALS}
    places = {w for w in words if w in PLACES}
    kinds = [pair for pair in re.findall(r"([A-Z][a-z]+) the ([a-z]+)", reply) if pair[1] in ANIMALS]
    one_kind_each = all(len({kind for name, kind in kinds if name == who}) <= 1 for who, _ in kinds)
    hero_is_right = all(kind == animal for name, kind in kinds if name == hero)
    cast_is_right = hero in names and len(names) <= 2 and animal in animals and len(animals) <= 2 and places == {place}
    return (
        cast_is_right and one_kind_each and hero_is_right and reply.rstrip().endswith((".", '"')) and len(words) >= 20
    )


TASKS = (Task("story", make, check, 1.4),)
