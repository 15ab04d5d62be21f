"""The command `hoshikage`: one file per command, each with `describe(parser)` and `main(arguments) -> exit code`.

Exit codes: 0 done, 1 something of ours failed, 2 what was asked for cannot be done as it is (the sentence on
standard error says why), 130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hoshikage import _libs
from hoshikage._version import __version__
from hoshikage.checks import closest
from hoshikage.cli.parser import Parser
from hoshikage.cli.screen import one_line
from hoshikage.errors import HoshikageError, ParameterError

COMMANDS = {
    "serve": "answer OpenAI's clients and others; what `hoshikage` alone does too",
    "status": "say whether the server is there, and whether it is well",
    "ps": "list the models that the server has in memory",
    "stop": "end the server in order, or unload one model",
    "run": "answer a prompt, or a chat's message, in the terminal",
    "inspect": "say what a model file is, without loading it",
    "add": "give a model file a name",
    "rm": "forget the name of a model; its file stays",
    "list": "name every model there is",
    "show": "say everything about one model that has a name",
    "config": "say how everything is set, and by what",
    "eval": "say how good and how fast a model is, on questions with checkable answers",
    "completion": "print what makes a shell complete this command",
}
OWN_FLAGS = ("-h", "--help", "--version")
INTERRUPTED = 130
NO_READER = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    complete_streams()
    try:
        return dispatch(with_command(sys.argv[1:] if argv is None else argv))
    except HoshikageError as error:
        complain(str(error))
        return 2
    except ImportError as error:  # our own modules: not built, or kept from loading by what the sentence says
        complain(str(error) if _libs.is_built() else _libs.NOT_BUILT)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return NO_READER
    except OSError as error:
        keep_output()
        complain(f"{error.filename or 'the output'}: {error.strerror or error}")
        return 2


def with_command(words: Sequence[str]) -> Sequence[str]:
    """The words of a command; where there is none, or only its flags, `serve` is meant."""
    first = words[0] if words else "-"
    is_whole = not first.startswith("-") or first in OWN_FLAGS or any(word in COMMANDS for word in words)
    if not is_whole and (meant := closest(first, OWN_FLAGS, 0.8)):
        raise ParameterError(first, "there is no such flag", f"did you mean {meant}?")
    return words if is_whole else ["serve", *words]


def dispatch(argv: Sequence[str]) -> int:
    """Find the command, read its arguments, do it. Only the chosen command's module is imported."""
    parser = Parser(prog="hoshikage", description="Diffusion and autoregressive language models from GGUF files.")
    parser.add_argument("--version", action="version", version=f"hoshikage {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == chosen:
            module_of(name).describe(command)
    arguments = parser.read(argv)
    code: int = module_of(arguments.command).main(arguments)
    sys.stdout.flush()
    return code


def module_of(command: str) -> Any:
    """The module of a command. It becomes a name in here, and one called `list` or `eval` would hide Python's own."""
    return import_module(f"hoshikage.cli.{command}{'_' if hasattr(builtins, command) else ''}")


def parser_of(command: str) -> Parser:
    """The parser of one command alone."""
    parser = Parser(prog=f"hoshikage {command}")
    module_of(command).describe(parser)
    return parser


def complete_streams() -> None:
    """Make all three standard streams usable, whatever the command was started with."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # A closed descriptor would go to the next file opened, a model for instance; this one takes it instead.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model writes characters that a terminal may not have


def complain(sentence: str) -> None:
    """One line on standard error; names that a file gave itself neither steer the terminal nor begin another line."""
    print(f"hoshikage: {one_line(sentence)}", file=sys.stderr)


def keep_output() -> None:
    """What is buffered is the result of something; it is given up only where it is what cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Whatever is still buffered would meet the same failure when Python flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
