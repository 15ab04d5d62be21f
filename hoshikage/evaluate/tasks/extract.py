"""Reading: facts out of a sentence into JSON or a form, a value out of a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from .item import Item, Task, ask
from .words import ANIMALS, CITIES, COLOURS, FRUITS, JOBS, NAMES, THINGS

Facts = dict[str, str | int]


def _person(rng: Random) -> tuple[str, Facts]:
    name, age, city, job = rng.choice(NAMES), rng.randint(10, 99), rng.choice(CITIES), rng.choice(JOBS)
    scenes: tuple[tuple[str, Facts], ...] = (
        (f"{name} is {age} years old and lives in {city}.", {"name": name, "age": age, "city": city}),
        (f"{name} from {city} is a {job}.", {"name": name, "city": city, "job": job}),
        (f"{name} works as a {job} in {city} and is {age}.", {"name": name, "age": age, "city": city, "job": job}),
    )
    return rng.choice(scenes)


def _pet(rng: Random) -> tuple[str, Facts]:
    name, animal, colour = rng.choice(NAMES), rng.choice(ANIMALS), rng.choice(COLOURS)
    return f"{name} has a {colour} {animal}.", {"name": name, "animal": animal, "color": colour}


def _sale(rng: Random) -> tuple[str, Facts]:
    name, fruit, count = rng.choice(NAMES), rng.choice(FRUITS), rng.randint(2, 99)
    return f"{name} bought {count} {fruit}s.", {"name": name, "fruit": fruit, "count": count}


_SCENES: tuple[Callable[[Random], tuple[str, Facts]], ...] = (_person, _person, _pet, _sale)


def _scene(rng: Random) -> tuple[str, Facts]:
    """A sentence and the facts asked for, in the order asked: often not all of them."""
    text, facts = rng.choice(_SCENES)(rng)
    fields = list(facts)
    if rng.random() < 0.4:
        fields = rng.sample(fields, 2)
    return text, {field: facts[field] for field in fields}


def make_json(rng: Random) -> Item:
    text, facts = _scene(rng)
    wanted = ", ".join(facts)
    wordings = (
        f"{text} Give {wanted} as JSON.",
        f"Extract {wanted} as JSON: {text}",
        f"{text} JSON with {wanted}, please.",
    )
    return ask("json", f"{text} {wanted}", rng.choice(wordings), json.dumps(facts), facts)


def make_form(rng: Random) -> Item:
    text, facts = _scene(rng)
    blank = "\n".join(f"{field}:" for field in facts)
    filled = "\n".join(f"{field}: {value}" for field, value in facts.items())
    return ask("form", f"{text} {' '.join(facts)}", f"{text} Fill in the form:\n{blank}", filled, filled)


def make_table(rng: Random) -> Item:
    """The row is read from the cell in the question to the one asked for: `white, 24, key. The key is white.`"""
    n = rng.randint(3, 5)
    things, prices, colours = rng.sample(THINGS, n), rng.sample(range(2, 100), n), rng.sample(COLOURS, n)
    rows = "\n".join(f"| {t} | {p} | {c} |" for t, p, c in zip(things, prices, colours, strict=True))
    table = f"| thing | price | color |\n{rows}"
    row = rng.randrange(n)
    thing, price, colour = things[row], prices[row], colours[row]
    of_price, of_colour = f"The {thing} costs {price}.", f"The {thing} is {colour}."
    question, read, sentence, expected = rng.choice(
        (
            (f"What is the price of the {thing}?", f"{thing}, {price}", of_price, str(price)),
            (f"What color is the {thing}?", f"{thing}, {price}, {colour}", of_colour, colour),
            (f"Which thing costs {price}?", f"{price}, {thing}", of_price, thing),
            (f"Which thing is {colour}?", f"{colour}, {price}, {thing}", of_colour, thing),
        )
    )
    return ask(
        "table", f"{rows} {question}", f"{table}\n{question}", f"{read}. {sentence}", (expected, things, colours)
    )


def check_json(item: Item, reply: str) -> bool:
    try:
        found: Any = json.loads(reply)
    except ValueError:
        return False
    return bool(found == item.expected)


def check_form(item: Item, reply: str) -> bool:
    return [line.split() for line in reply.strip().splitlines()] == [
        line.split() for line in item.expected.splitlines()
    ]


def check_table(item: Item, reply: str) -> bool:
    """The last sentence names the value asked for, and nothing of another row."""
    expected, things, colours = item.expected
    words = reply.strip().removesuffix(".").rpartition(". ")[2].split()
    asked = item.turns[-1].text.rsplit("\n", 1)[-1].replace("?", " ").split()
    strange = [w for w in words if (w in things or w in colours or w.isdigit()) and w != expected and w not in asked]
    return expected in words and not strange


TASKS = (
    Task("json", make_json, check_json, 1.0),
    Task("form", make_form, check_form, 0.6),
    Task("table", make_table, check_table, 1.8),
)
