"""The pinned llama.cpp from the command line: python llama.cpp COMMAND."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fetch import find_source
from libraries import build_libraries, build_programs, place_libraries
from machine import check_machine, requirements
from pack import write_pack
from pin import Pin, PinError, read_pin, say


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python llama.cpp", description="The llama.cpp that Hoshikage is built with.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("fetch", help="fetch and unpack the source, unless it is there")
    build = commands.add_parser("build", help="build the libraries into a folder, for HOSHIKAGE_LIB_PATH")
    build.add_argument("folder", type=Path, metavar="FOLDER")
    build.add_argument("--portable", action="store_true", help="for any machine of this kind, not only this one")
    programs = commands.add_parser("programs", help="build programs of llama.cpp, such as llama-bench")
    programs.add_argument("names", nargs="+", metavar="NAME")
    pack = commands.add_parser("pack", help="pack the source, trimmed, for a machine without network")
    pack.add_argument("folder", type=Path, metavar="FOLDER")
    commands.add_parser("machine", help="say what is missing on this machine for a build")
    needs = commands.add_parser("requirements", help="print what work on the project needs from the package index")
    needs.add_argument("--train", action="store_true", help="and what training the embedded models needs")
    return parser.parse_args()


def run(pin: Pin, arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "fetch":
            say(f"the source of llama.cpp is in {find_source(pin)}")
        case "build":
            place_libraries(build_libraries(pin, arguments.portable), arguments.folder)
            say(f"the libraries are in {arguments.folder}")
        case "programs":
            say(f"the programs are in {build_programs(pin, arguments.names)}")
        case "pack":
            path = write_pack(pin, arguments.folder)
            size = path.stat().st_size / 1e6
            say(f"{path} has {size:.1f} MB; unpack it there and set HOSHIKAGE_LLAMA_CPP to the folder")
        case "machine":
            check_machine(with_venv=True)
        case "requirements":
            print("\n".join(requirements(with_training=arguments.train)))


def main() -> int:
    arguments = read_arguments()
    try:
        run(read_pin(), arguments)
    except PinError as error:
        print(f"hoshikage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
