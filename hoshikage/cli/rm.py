"""`hoshikage rm LABEL`: forget a name."""

from __future__ import annotations

import argparse

from hoshikage.cli.models import add_registry_flags, one_line, registry_of


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the name of a registered model")
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    registry_of(arguments).remove(arguments.label)
    print(f"{one_line(arguments.label)} is forgotten; its file stays")
    return 0
