"""Reading: facts out of a sentence into JSON or a form, a value out of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from .item import Item, Task, ask, check_same, commits
from .words import ANIMALS, CITIES, COLOURS, FRUITS, JOBS, NAMES, mentioned

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
    return ask("json", f"{text} {wanted}", rng.choice(wordings), json.dumps(facts), facts, _asked_for(text, facts))


def make_form(rng: Random) -> Item:
    text, facts = _scene(rng)
    blank = "\n".join(f"{field}:" for field in facts)
    filled = "\n".join(f"{field}: {value}" for field, value in facts.items())
    question = f"{text} Fill in the form:\n{blank}"
    return ask("form", f"{text} {' '.join(facts)}", question, filled, filled, _asked_for(text, facts))


def _asked_for(text: str, facts: Facts) -> str:
    """The same as JSON and as a form, and in any order: what one is tested with, the other is not trained with."""
    return f"facts/{text} {' '.join(sorted(facts))}"


def _table(rng: Random) -> tuple[list[str], list[str], list[str], list[str]]:
    """Animals, colours, fruits, and a row of each. Every cell is a token, and nothing stands between cells: what is
    behind a word is the easiest thing to look up."""
    n = rng.randint(3, 5)
    animals, colours, fruits = rng.sample(ANIMALS, n), rng.sample(COLOURS, n), rng.sample(FRUITS, n)
    return animals, colours, fruits, [f"- {a} {c} {f}" for a, c, f in zip(animals, colours, fruits, strict=True)]


def _asked_of(rows: list[str], question: str) -> str:
    return "\n".join(("- animal color fruit", *rows, question))


def make_table(rng: Random) -> Item:
    """The row is quoted as it stands in the table, so that it can be copied token by token."""
    animals, colours, fruits, rows = _table(rng)
    row = rng.randrange(len(rows))
    animal, colour, fruit = animals[row], colours[row], fruits[row]
    question, sentence, expected = rng.choice(
        (
            (f"What color is the {animal}?", f"The {animal} is {colour}.", colour),
            (f"Which fruit does the {animal} like?", f"The {animal} likes the {fruit}.", fruit),
        )
    )
    key, answer = " ".join((*rows, question)), f"{rows[row]}\n{sentence}"
    others = {*animals, *colours, *fruits} - {animal, expected}
    return ask("table", key, _asked_of(rows, question), answer, (expected, others))


def make_rows(rng: Random) -> Item:
    """Several rows of a table, in another order: looking up is learnt sooner where there is more to look up."""
    animals, _, _, rows = _table(rng)
    order = rng.sample(range(len(rows)), rng.randint(2, len(rows)))
    question = f"Show me the {' and the '.join(animals[row] for row in order)}."
    answer = "\n".join(rows[row] for row in order)
    return ask("rows", " ".join((*rows, question)), _asked_of(rows, question), answer, answer)


def make_run(rng: Random) -> Item:
    """Words from one of them on: each tells the next, and nothing but the words does."""
    words = rng.sample([*ANIMALS, *COLOURS, *FRUITS], rng.randint(6, 14))
    start = rng.randrange(len(words) - 2)
    line, answer = f"- {' '.join(words)}", f"- {' '.join(words[start:])}"
    return ask("run", f"{line} {words[start]}", f"{line}\nGo on from {words[start]}.", answer, answer)


def check_json(item: Item, reply: str) -> bool:
    """In a fence of Markdown or without."""
    text = re.sub(r"\A\s*```(?:json)?\s|```\s*\Z", "", reply)
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return bool(found == item.expected)


def check_form(item: Item, reply: str) -> bool:
    return [line.split() for line in reply.strip().splitlines()] == [
        line.split() for line in item.expected.splitlines()
    ]


def check_table(item: Item, reply: str) -> bool:
    """The last line names the value asked for, and beside it nothing but the animal."""
    expected, others = item.expected
    said = set(mentioned(reply.strip().rpartition("\n")[2]))
    in_the_table = set(mentioned(item.turns[-1].text))
    return commits(reply) and expected in said and said <= in_the_table - others


EXERCISES = (Task("rows", make_rows, check_same, 1.2), Task("run", make_run, check_same, 1.8))
TASKS = (
    Task("json", make_json, check_json, 1.0),
    Task("form", make_form, check_form, 0.6),
    Task("table", make_table, check_table, 1.8),
)
