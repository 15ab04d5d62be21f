"""`hoshikage show LABEL`: everything about one model that has a name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hoshikage import gguf
from hoshikage.cli.inspect import as_text, facts_of
from hoshikage.cli.models import add_registry_flags, one_line, registry_of
from hoshikage.cli.parser import flag_of
from hoshikage.cli.remote import add_url_flag, segment, server_of
from hoshikage.errors import ModelFileError
from hoshikage.registry import Model, as_json


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the name of a model")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_url_flag(parser, "ask this server, which knows also what it is doing with it")
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    if arguments.url is not None:
        return show_there(arguments)
    model = registry_of(arguments).find(arguments.label)
    facts = facts_of_model(model)
    if arguments.json:
        wanted = {"stop": model.stop, "settings": dict(model.settings), "other": dict(model.other)}
        print(as_json(facts | wanted))
    else:
        print(as_text({name: flat(value) for name, value in facts.items()} | lines_of(model)))
    return 0


def show_there(arguments: argparse.Namespace) -> int:
    """What a server says of it."""
    card = server_of(arguments).ask("GET", f"/v1/models/{segment(arguments.label)}")
    flat_card = {
        name: value for name, value in card.items() if value is not None and not isinstance(value, (dict, list))
    }
    print(as_json(card) if arguments.json else as_text({name: flat(value) for name, value in flat_card.items()}))
    return 0


def facts_of_model(model: Model) -> dict[str, Any]:
    """Its name and its header; in place of the latter what is wrong with the file, if anything is."""
    named: dict[str, Any] = {"label": model.label, "origin": model.origin, "file": str(model.path)}
    try:
        header = gguf.inspect(model.path)
        return named | facts_of(header) | {"bytes": model.facts().n_bytes}
    except ModelFileError as error:
        return named | {"problem": str(error)}


def flat(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value


def lines_of(model: Model) -> dict[str, str]:
    """What the entry adds, one thing a line."""
    lines = {"stop": " ".join(json.dumps(word, ensure_ascii=False) for word in model.stop)}
    lines |= {flag_of(name): one_line(str(value)) for name, value in model.settings.items()}
    for name, value in model.other.items():
        lines[one_line(name)] = f"{one_line(json.dumps(value))} (kept, means nothing here)"
    return lines
