"""`hoshikage ps`: what a running server has in memory, and what it is doing with it. Looking wakes no model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from hoshikage.cli import complain
from hoshikage.cli.models import in_columns
from hoshikage.cli.remote import Remote, add_server_flags, server_of
from hoshikage.cli.screen import human_size, one_line
from hoshikage.registry import as_json

HEAD = ["LABEL", "KIND", "STATE", "MEMORY", "AT WORK", "WAITING", "LEAVES IN"]
MINUTE = 60.0


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="those as well that are only files now")
    parser.add_argument("--json", action="store_true", help="print JSON: one object for each model")
    add_server_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    server = server_of(arguments)
    cards = cards_of(server)
    shown = [card for card in cards if arguments.all or is_awake(card)]
    if arguments.json:
        print(as_json(shown))
    elif shown:
        print(in_columns([HEAD, *map(cells, shown)]))
    else:
        complain("no model is in memory; a request wakes one, `hoshikage ps --all` names them")
    return 0


def cards_of(server: Remote) -> list[dict[str, Any]]:
    """Every model of the server as it tells of it."""
    cards = server.ask("GET", "/v1/models").get("data")
    return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []


def is_awake(card: Mapping[str, Any]) -> bool:
    """Whether it is more than a file now."""
    return card.get("state") != "cold" or bool(card.get("n_waiting"))


def cells(card: Mapping[str, Any]) -> list[str]:
    """A line as a person reads it; what is wrong with a model stands in place of its figures."""
    state = str(card.get("state", "?"))
    if state == "loading":
        state = f"loading {card.get('progress') or 0:.0%}"
    line = [str(card.get("id", "?")), str(card.get("kind", "?")), state]
    if problem := card.get("problem"):
        return [one_line(cell) for cell in (*line, str(problem))]
    taken, leaves = card.get("resident_bytes"), card.get("unloads_in")
    figures = [
        human_size(taken) if taken else "-",
        str(card.get("n_active", 0)),
        str(card.get("n_waiting", 0)),
        "-" if leaves is None else duration(leaves),
    ]
    return [one_line(cell) for cell in (*line, *figures)]


def duration(seconds: float) -> str:
    """So long, as one says it."""
    return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"
