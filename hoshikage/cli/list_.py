"""`hoshikage list`: every model that can be asked for by name."""

from __future__ import annotations

import argparse
from typing import Any

from hoshikage.cli import complain
from hoshikage.cli.models import add_registry_flags, cells, in_columns, line_of, registry_of, told
from hoshikage.cli.ps import cards_of
from hoshikage.cli.remote import add_place_flags, server_of_names
from hoshikage.registry import as_json

HEAD = ["LABEL", "KIND", "ARCHITECTURE", "SIZE", "CONTEXT", "FILE"]


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON: one object for each model")
    add_place_flags(parser, "name those that this server has")
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    server = server_of_names(arguments)
    if server is None:
        lines = lines_here(arguments)
    else:
        lines = [line_of(card) for card in cards_of(server)]
        if arguments.url is None:
            lines = with_files(lines, arguments)
    if arguments.json:
        print(as_json(lines))
    elif lines:
        print(in_columns([HEAD, *map(cells, lines)]))
    else:
        complain("no model has a name yet; `hoshikage add PATH LABEL` gives one")
    return 0


def lines_here(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Those of the file of names, of MODEL_DIR, and the embedded ones; what is wrong there is said."""
    catalogue = registry_of(arguments).catalogue()
    lines: list[dict[str, Any]] = [told(model) for model in catalogue.models.values()]
    for label, error in catalogue.broken.items():
        lines.append({"label": label, "origin": "registered", "problem": str(error)})
    for remark in catalogue.remarks:
        complain(remark)
    return lines


def with_files(lines: list[dict[str, Any]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What a server told, which never says where files are, with those that the same file of names has here."""
    here = {line["label"]: line for line in lines_here(arguments)}
    return [line | here[line["label"]] if is_about(here.get(line["label"]), line) else line for line in lines]


def is_about(ours: dict[str, Any] | None, theirs: dict[str, Any]) -> bool:
    """Whether both tell of one model: a server may have been started with another MODEL_DIR."""
    facts = ("kind", "architecture", "bytes", "context")
    return ours is not None and all(ours.get(name) == theirs.get(name) for name in facts)
