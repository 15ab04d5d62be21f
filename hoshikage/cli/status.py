"""`hoshikage status`: whether a server is there and serves. That much needs no key, so it can be a health check.

Exit codes: 0 it serves, 1 it is there and does not serve, 2 it is not there.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from hoshikage.cli.ps import cards_of, is_awake
from hoshikage.cli.remote import SUCCESS, Remote, add_server_flags, refused, server_of
from hoshikage.cli.screen import one_line
from hoshikage.errors import RefusedError

COUNTS = {"n_active": "at work", "n_waiting": "waiting", "n_loading": "loading"}


def describe(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="print JSON")
    kind.add_argument("--quiet", action="store_true", help="print nothing while it is well")
    add_server_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    facts = facts_of(server_of(arguments), brief=arguments.quiet)
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    elif not (arguments.quiet and facts["well"]):
        print(one_line(in_words(facts)))
    return 0 if facts["well"] else 1


def facts_of(server: Remote, *, brief: bool = False) -> dict[str, Any]:
    """Whether it is well, what it does, and to those with a key also what it has in memory, unless `brief`."""
    status, said = server.answer("GET", "/ready")
    facts: dict[str, Any] = {"server": server.url, "well": status in SUCCESS}
    if not facts["well"]:
        return facts | {"problem": str(refused(said, status))}
    facts |= {name: said[name] for name in COUNTS if name in said}
    if brief:
        return facts
    try:
        return facts | {"in_memory": [card["id"] for card in cards_of(server) if is_awake(card)]}
    except RefusedError:
        return facts


def in_words(facts: dict[str, Any]) -> str:
    """One line for a person."""
    if not facts["well"]:
        return f"{facts['server']} is not well: {facts['problem']}"
    counts = ", ".join(f"{facts[name]} {word}" for name, word in COUNTS.items() if name in facts)
    loaded = f"; in memory: {', '.join(map(str, facts['in_memory']))}" if facts.get("in_memory") else ""
    return f"{facts['server']} is well: {counts}{loaded}"
