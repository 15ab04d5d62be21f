"""`hoshikage add PATH LABEL [STOP ...]`: give a model file a name, and what it is to be run with.

A running server of the same file of names does it; without one, the file is changed here. `--url` is for a server that
has a file of its own: in a container, on another machine.
"""

from __future__ import annotations

import argparse
from typing import Any

from hoshikage.cli import complain
from hoshikage.cli.models import add_registry_flags, cells, line_of, registry_of, told
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.cli.remote import Remote, add_place_flags, asked_in_passing, segment, server_of_names
from hoshikage.cli.screen import one_line
from hoshikage.envfile import expanded
from hoshikage.errors import ParameterError, RefusedError
from hoshikage.registry import rows_of_model

NOT_FOUND, CONFLICT = 404, 409


def describe(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s PATH LABEL [STOP ...] [flags]"
    parser.add_argument("path", metavar="PATH", help="a GGUF file; of a split model, its first part")
    parser.add_argument("label", metavar="LABEL", help="the name to ask for it by")
    parser.add_argument(
        "stop", metavar="STOP", nargs="*", default=[], help="answers end before this text, beside the usual ones"
    )
    parser.add_argument(
        "--replace", action="store_true", help="give a label that is taken this file; what is not said stays"
    )
    parser.add_argument(
        "--set-aside", action="store_true", help="keep a map that cannot be understood under another name, begin anew"
    )
    add_place_flags(parser, "let this server add it; PATH is one of its own machine")
    add_flags(parser, "this model's own settings", rows_of_model().values())
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    settings = read_flags(arguments, rows_of_model().values())
    server = server_of_names(arguments)
    line = here(arguments, settings) if server is None else there(server, arguments, settings)
    if "problem" not in line:
        line = {**line, "context": f"{line['context']} tokens of context"}
    label, *facts = cells(line)
    print(f"{label}: {', '.join(facts)}")
    if server is None:
        remark_on_stranger(arguments)
    return 0


def here(arguments: argparse.Namespace, settings: dict[str, object]) -> dict[str, Any]:
    """Write it into the file of names; a line of the list is returned."""
    model = registry_of(arguments).add(
        expanded(arguments.path),
        arguments.label,
        arguments.stop,
        settings,
        replace=arguments.replace,
        set_aside=arguments.set_aside,
    )
    return told(model)


def there(server: Remote, arguments: argparse.Namespace, settings: dict[str, object]) -> dict[str, Any]:
    """Let a server do it; a line of the list is returned."""
    if arguments.set_aside:
        raise ParameterError("--set-aside", "a server does not do this", "say it on its machine, with --here")
    path = str(expanded(arguments.path).absolute())
    wish = {"name": arguments.label, "path": path, "stop": arguments.stop, "replace": arguments.replace}
    try:
        card = server.ask("POST", "/admin/models", {**settings, **wish})["model"]
    except RefusedError as error:
        if error.status != CONFLICT:
            raise
        raise RefusedError(error.cause, "choose another label, or say --replace", error.status) from None
    return line_of(card) | {"file": path}


def remark_on_stranger(arguments: argparse.Namespace) -> None:
    """A server may be here that was started with other settings, and never sees what was just added."""
    url, status = asked_in_passing(arguments, "GET", f"/v1/models/{segment(arguments.label)}")
    if status == NOT_FOUND:
        name = one_line(arguments.label)
        complain(f"the server at {url} has another file of names and does not know {name}; --url {url} adds it there")
