"""`hoshikage rm LABEL`: forget a name. A server that has the model in memory gives that back as well."""

from __future__ import annotations

import argparse

from hoshikage.cli.models import add_registry_flags, registry_of
from hoshikage.cli.remote import add_place_flags, segment, server_of_names
from hoshikage.cli.screen import one_line


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the name of a registered model")
    add_place_flags(parser, "let this server forget it")
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    server = server_of_names(arguments)
    if server is not None:
        server.ask("DELETE", f"/admin/models/{segment(arguments.label)}")
    else:
        registry_of(arguments).remove(arguments.label)
    print(f"{one_line(arguments.label)} is forgotten; its file stays")
    return 0
