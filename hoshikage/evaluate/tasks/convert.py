"""Units into units and bases into bases."""

from __future__ import annotations

import re
from random import Random

from .arithmetic import whole
from .item import Item, Task, ask, commits

_UNITS = (
    ("m", "cm", 100),
    ("km", "m", 1000),
    ("cm", "mm", 10),
    ("kg", "g", 1000),
    ("l", "ml", 1000),
)
_DOWN = ("How many {small} are {n} {big}?", "Convert {n} {big} to {small}.", "What is {n} {big} in {small}?")
_UP = ("How many {big} are {n} {small}?", "Convert {n} {small} to {big}.", "What is {n} {small} in {big}?")
_QUANTITY = re.compile(r"(?<![\w.,])([-−]?\d+(?:[.,]\d+)*+)(?: ?([a-z]+\b))?")
_DIGITS = re.compile(r"(?<![\w.,])[-−]?(?:0x|0b)?+[0-9a-f]++(?:[.,][0-9a-f]++)*+(?!\w)")
_PREFIXES = {"decimal": "", "binary": "0b", "hex": "0x"}


def make_units(rng: Random) -> Item:
    if rng.random() < 0.15:
        return _weeks(rng)
    big, small, factor = rng.choice(_UNITS)
    n = rng.randint(1, 99)
    one = f"1 {big} is {factor} {small}"
    if rng.random() < 0.6:
        question = rng.choice(_DOWN).format(n=n, big=big, small=small)
        answer, expected = f"{one}, so {n} {big} are {n * factor} {small}.", f"{n * factor} {small}"
    else:
        question = rng.choice(_UP).format(n=n * factor, big=big, small=small)
        answer, expected = f"{one}, so {n * factor} {small} are {n} {big}.", f"{n} {big}"
    return ask("units", f"{n} {big} {small}", question, answer, expected)


def _weeks(rng: Random) -> Item:
    """Counted through by sevens: an unseen number of weeks is only a longer count."""
    n = rng.randint(2, 12)
    told = ", ".join(str(7 * k) for k in range(1, n + 1))
    question = rng.choice(_DOWN).format(n=n, big="weeks", small="days")
    return ask("units", f"{n} weeks", question, f"{told}, so {n} weeks are {7 * n} days.", f"{7 * n} days")


def make_bases(rng: Random) -> Item:
    kind = rng.randrange(3)
    if kind == 0:
        return _binary_to_decimal(rng)
    number = rng.randint(16, 255) if rng.random() < 0.5 else rng.randint(256, 4095)
    digits = f"{number:x}"
    nibbles = [f"{int(digit, 16):04b}" for digit in digits]
    pairs = ", ".join(f"{digit} is {nibble}" for digit, nibble in zip(digits, nibbles, strict=True))
    if kind == 1:
        return ask("bases", digits, f"Write hex {digits} in binary.", f"{pairs}: {''.join(nibbles)}", "".join(nibbles))
    pairs = ", ".join(f"{nibble} is {digit}" for digit, nibble in zip(digits, nibbles, strict=True))
    return ask("bases", digits, f"Write binary {' '.join(nibbles)} in hex.", f"{pairs}: {digits}", digits)


def _binary_to_decimal(rng: Random) -> Item:
    """Horner's rule: every bit doubles what is there and adds itself."""
    number = rng.randint(4, 63)
    bits = f"{number:b}"
    partial = [str(int(bits[: k + 1], 2)) for k in range(len(bits))]
    return ask("bases", bits, f"Write binary {bits} in decimal.", f"{', '.join(partial)}: {number}", str(number))


def check_units(item: Item, reply: str) -> bool:
    """The last number, with its unit right behind it."""
    found = [f"{whole(digits)} {unit}" for digits, unit in _QUANTITY.findall(reply)]
    return commits(reply) and found[-1:] == [item.expected]


def check_bases(item: Item, reply: str) -> bool:
    """The last number, with the prefix of its base or without, in small letters or large ones. Behind a comma it is one
    of those on the way."""
    reply = reply.lower()
    found = list(_DIGITS.finditer(reply))
    if not found or not commits(reply):
        return False
    is_on_the_way = reply[: found[-1].start()].rstrip().endswith(",")
    base = item.turns[-1].text.removesuffix(".").rpartition(" ")[2]
    return not is_on_the_way and found[-1][0].removeprefix(_PREFIXES[base]) == item.expected


TASKS = (Task("units", make_units, check_units, 0.6), Task("bases", make_bases, check_bases, 1.2))
