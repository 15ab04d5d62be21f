"""`hoshikage add PATH LABEL [STOP ...]`: give a model file a name, and what it is to be run with."""

from __future__ import annotations

import argparse
from pathlib import Path

from hoshikage.cli.models import add_registry_flags, cells, registry_of, told
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.registry import rows_of_model


def describe(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s PATH LABEL [STOP ...] [flags]"
    parser.add_argument("path", metavar="PATH", type=Path, help="a GGUF file; of a split model, its first part")
    parser.add_argument("label", metavar="LABEL", help="the name to ask for it by")
    parser.add_argument("stop", metavar="STOP", nargs="*", help="answers end before this text, beside the usual ones")
    parser.add_argument(
        "--replace", action="store_true", help="give a label that is taken this file; what is not said stays"
    )
    parser.add_argument(
        "--set-aside", action="store_true", help="keep a map that cannot be understood under another name, begin anew"
    )
    add_flags(parser, "this model's own settings", rows_of_model().values())
    add_registry_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    model = registry_of(arguments).add(
        arguments.path.expanduser(),
        arguments.label,
        arguments.stop,
        read_flags(arguments, rows_of_model().values()),
        replace=arguments.replace,
        set_aside=arguments.set_aside,
    )
    label, *facts = cells(told(model))
    print(f"{label}: {', '.join(facts)}")
    return 0
