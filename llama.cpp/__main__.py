"""python llama.cpp fetch | build | pack: the pinned llama.cpp from the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fetch import find_source
from libraries import build_libraries, place_libraries
from pin import PinError, read_pin, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="python llama.cpp", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch and unpack the source, unless it is there")
    build = commands.add_parser("build", help="build the libraries into a folder (HOSHIKAGE_LIB_PATH can point to it)")
    build.add_argument("folder", type=Path)
    build.add_argument("--portable", action="store_true", help="for any machine of this kind, not only this one")
    arguments = parser.parse_args()
    pin = read_pin()
    try:
        if arguments.command == "fetch":
            say(f"the source of llama.cpp is in {find_source(pin)}")
        else:
            place_libraries(build_libraries(pin, arguments.portable), arguments.folder)
            say(f"the libraries are in {arguments.folder}")
    except PinError as error:
        print(f"hoshikage: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
