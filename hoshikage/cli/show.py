"""`hoshikage show LABEL`: everything about one model that has a name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from hoshikage.cli.inspect import as_text, facts_of, parts_in
from hoshikage.cli.models import add_registry_flags, registry_of
from hoshikage.cli.parser import flag_of
from hoshikage.cli.remote import add_place_flags, segment, server_of_names
from hoshikage.cli.screen import one_line
from hoshikage.errors import ModelFileError, UnknownModelError
from hoshikage.registry import Model, as_json


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the name of a model")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_place_flags(parser, "ask this server, which knows also what it is doing with it")
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    server = server_of_names(arguments)
    card = None if server is None else server.ask("GET", f"/v1/models/{segment(arguments.label)}")
    model = None if arguments.url is not None else found_here(arguments, card)
    if model is None:
        show_card(card or {}, arguments.json)
        return 0
    facts = facts_of_model(model) | ({} if card is None else {"state": card.get("state")})
    if arguments.json:
        wanted = {"stop": model.stop, "settings": dict(model.settings), "other": dict(model.other)}
        print(as_json(facts | wanted))
    else:
        print(as_text(facts | lines_of(model)))
    return 0


def found_here(arguments: argparse.Namespace, card: Mapping[str, Any] | None) -> Model | None:
    """The model of this name; None for one that only the server knows, which may have another MODEL_DIR."""
    try:
        return registry_of(arguments).find(arguments.label)
    except UnknownModelError:
        if card is None:
            raise
        return None


def show_card(card: Mapping[str, Any], as_it_is: bool) -> None:
    """What a server says of a model."""
    known = {name: value for name, value in card.items() if value is not None and not isinstance(value, (dict, list))}
    print(as_json(card) if as_it_is else as_text(known))


def facts_of_model(model: Model) -> dict[str, Any]:
    """Its name and its header; in place of the latter what is wrong with the file, if anything is."""
    named: dict[str, Any] = {"label": model.label, "origin": model.origin, "file": str(model.path)}
    try:
        return named | facts_of(parts_in(model.path), model.wish)
    except ModelFileError as error:
        return named | {"problem": str(error)}


def lines_of(model: Model) -> dict[str, str]:
    """What the entry adds, one thing a line."""
    lines = {"stop": " ".join(json.dumps(word, ensure_ascii=False) for word in model.stop)}
    lines |= {flag_of(name): one_line(str(value)) for name, value in model.settings.items()}
    for name, value in model.other.items():
        lines[one_line(name)] = f"{one_line(json.dumps(value))} (kept, means nothing here)"
    return lines
