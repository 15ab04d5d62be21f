"""`hoshikage config`: every setting, its value, and where that came from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hoshikage import settings as table
from hoshikage.cli import complain
from hoshikage.cli.models import in_columns
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.cli.screen import one_line

HIDDEN = "(hidden)"


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--changed", action="store_true", help="only those that some source sets")
    parser.add_argument("--json", action="store_true", help="print JSON: one object for each setting")
    for part, title in table.PARTS.items():
        add_flags(parser, title, table.table(part))


def main(arguments: argparse.Namespace) -> int:
    flags = read_flags(arguments, table.table())
    settings = [one for one in table.found(flags).values() if one.origin != "default" or not arguments.changed]
    if arguments.json:
        print(json.dumps([told(one) for one in settings], ensure_ascii=False, indent=2))
    elif settings:
        print("\n\n".join(filter(None, (section(part, settings) for part in table.PARTS))))
    for remark in table.misspelt(flags):
        complain(remark)
    return 0


def section(part: table.Part, settings: list[table.Found]) -> str:
    """The lines of one part of the table, with its title; nothing where none of its settings is wanted."""
    lines = [["  " + one.row.variable, shown(one), one.origin] for one in settings if one.row.part == part]
    return f"{table.PARTS[part]}\n{in_columns([[one_line(cell) for cell in line] for line in lines])}" if lines else ""


def shown(one: table.Found) -> str:
    """A value as a person reads it; keys are shown to nobody."""
    if one.value is None or one.value == ():
        return "-"
    return HIDDEN if one.row.secret else one.row.spelled(one.value)


def told(one: table.Found) -> dict[str, Any]:
    """A line as JSON."""
    row = one.row
    value = HIDDEN if row.secret and one.value else one.value
    return {
        "variable": row.variable,
        "name": row.name,
        "value": value,
        "origin": one.origin,
        "part": row.part,
        "meaning": row.meaning,
    }
