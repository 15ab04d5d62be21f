"""The command `hoshikage`: one file per command, each with `describe(parser)` and `main(arguments) -> exit code`.

Exit codes: 0 done, 1 something of ours failed, 2 the request cannot be met as it is (the sentence on standard
error says why), 130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from hoshikage._version import __version__
from hoshikage.cli.parser import Parser
from hoshikage.errors import HoshikageError

COMMANDS = {
    "run": "answer a prompt, or a chat's message, in the terminal",
    "inspect": "say what a model file is, without loading it",
    "eval": "say how good and how fast a model is, on questions with checkable answers",
}
INTERRUPTED = 130
NO_READER = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return dispatch(given)
    except HoshikageError as error:
        print(f"hoshikage: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whatever is still buffered would meet the same pipe when Python flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER


def dispatch(argv: Sequence[str]) -> int:
    """Find the command, read its arguments, do it. Only the chosen command's module is imported."""
    parser = Parser(prog="hoshikage", description="Diffusion and autoregressive language models from GGUF files.")
    parser.add_argument("--version", action="version", version=f"hoshikage {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
        if name == chosen:
            module = import_module(f"hoshikage.cli.{name}")
            module.describe(command)
    arguments = parser.read(argv)
    code: int = module.main(arguments)
    sys.stdout.flush()
    return code
