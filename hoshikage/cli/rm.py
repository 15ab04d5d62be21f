"""`hoshikage rm LABEL`: forget a name. A server of the same settings gives its memory back as well."""

from __future__ import annotations

import argparse

from hoshikage.cli.models import add_registry_flags, one_line, registry_of
from hoshikage.cli.remote import add_url_flag, asked_in_passing, segment, server_of


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the name of a registered model")
    add_url_flag(parser, "let this server forget it")
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    path = f"/admin/models/{segment(arguments.label)}"
    if arguments.url is not None:
        server_of(arguments).ask("DELETE", path)
    else:
        registry_of(arguments).remove(arguments.label)
        asked_in_passing(arguments, "POST", f"{path}/unload")  # one that may not be told lets it go when it is idle
    print(f"{one_line(arguments.label)} is forgotten; its file stays")
    return 0
