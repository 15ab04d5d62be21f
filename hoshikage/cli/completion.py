"""`hoshikage completion SHELL`: what makes a shell complete this command.

A script of a few lines per shell asks back with the words so far (`hoshikage completion words -- ...`) and is told what
could come next: a word in each line, a tab and what it means; a line with only a colon stands for files. So everything
that completes follows from the parsers themselves, and names of models are those of this moment.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from importlib import resources
from itertools import chain
from typing import Any, TypeAlias

from hoshikage import settings as table
from hoshikage.checks import Check, Choice, Place
from hoshikage.cli import COMMANDS, parser_of
from hoshikage.cli.screen import one_line
from hoshikage.engine.request import KINDS, options_of
from hoshikage.errors import HoshikageError
from hoshikage.registry import Registry

SHELLS = ("bash", "zsh", "fish")
WORDS = "words"  # what the scripts ask for
FILES = ":"  # the line that stands for files; no command, flag or label is only that
OF_MODELS, OF_FILES = ("LABEL", "MODEL", "FILE"), ("MODEL", "FILE", "PATH")  # what a positional word may be
Candidate: TypeAlias = tuple[str, str]  # a word, and what it means


def describe(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s {bash,zsh,fish}"
    parser.epilog = "bash: put `source <(hoshikage completion bash)` into ~/.bashrc; see docs/terminal.md for others"
    parser.add_argument("shell", metavar="SHELL", choices=(*SHELLS, WORDS), help="bash, zsh or fish")
    parser.add_argument("words", nargs="*", default=[], help=argparse.SUPPRESS)


def main(arguments: argparse.Namespace) -> int:
    if arguments.shell == WORDS:
        for word, meaning in candidates(arguments.words):
            print(f"{word}\t{one_line(meaning)}" if meaning else word)
    else:
        print(
            resources.files(__package__).joinpath(f"completion.{arguments.shell}").read_text(encoding="utf-8"), end=""
        )
    return 0


def candidates(words: list[str]) -> Iterator[Candidate]:
    """What the last of the words could become; it may be empty."""
    *before, typed = joined(words) or [""]
    chosen = next((word for word in before if not word.startswith("-")), None)
    if chosen is None:
        found: Iterable[Candidate] = [*COMMANDS.items(), ("--help", ""), ("--version", "")]
    elif chosen in COMMANDS:
        found = of_command(chosen, before[before.index(chosen) + 1 :], typed)
    else:
        found = []
    flag = typed[: typed.find("=") + 1] if typed.startswith("--") else ""
    for word, meaning in found:
        if word == FILES:
            yield word, meaning
        elif (flag + word).startswith(typed):
            yield flag + word, meaning


def joined(words: list[str]) -> list[str]:
    """`--flag = value`, as bash takes it apart, in one word again."""
    whole: list[str] = []
    for word in words:
        if whole and (word == "=" or whole[-1].endswith("=")) and whole[-1].startswith("--"):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def of_command(name: str, before: list[str], typed: str) -> Iterator[Candidate]:
    """What may stand behind a command and these words."""
    parser = parser_of(name)
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    waiting = flags.get(before[-1]) if before else None
    if "--" not in before and waiting is not None and waiting.nargs != 0:
        yield from values_of(waiting)
    elif "--" not in before and typed.startswith("-") and "=" in typed:
        yield from values_of(flags[flag]) if (flag := typed.partition("=")[0]) in flags else ()
    elif "--" not in before and typed.startswith("-"):
        yield from ((flag, meaning_of(action)) for flag, action in flags.items() if flag.startswith("--"))
    elif (place := positional(parser, flags, before)) is not None:
        yield from values_of(place)


def positional(
    parser: argparse.ArgumentParser, flags: dict[str, argparse.Action], before: list[str]
) -> argparse.Action | None:
    """The place that the next word takes."""
    places = [action for action in parser._actions if not action.option_strings]
    n_words = 0
    for i, word in enumerate(before):
        follows = flags.get(before[i - 1]) if i else None
        n_words += not word.startswith("-") and (follows is None or follows.nargs == 0)
    if n_words < len(places):
        return places[n_words]
    return places[-1] if places and places[-1].nargs == "*" else None


def values_of(action: argparse.Action) -> Iterator[Candidate]:
    """What may stand in a place, or behind a flag."""
    check = checks().get(action.dest) if action.option_strings else None
    if action.choices:
        yield from ((str(choice), "") for choice in action.choices if choice != WORDS)
    elif isinstance(check, Choice):
        yield from ((name, "") for name in dict.fromkeys(check.names.values()))
    elif not action.option_strings and action.metavar in OF_MODELS:
        yield from labels()
    if isinstance(check, Place) or action.metavar in OF_FILES:
        yield FILES, ""


def checks() -> dict[str, Check[Any]]:
    """The checks behind flags, by the names that the parsers have them under."""
    options = chain.from_iterable(options_of(kind) for kind in KINDS.values())
    return {row.name: row.check for row in table.table()} | {option.name: option.check for option in options}


def labels() -> Iterator[Candidate]:
    """The models that have a name now. A map that cannot be read completes nothing; the command will say why."""
    try:
        models = Registry.of(table.read()).catalogue().models
    except HoshikageError:
        models = {}
    for label, model in models.items():
        yield label, model.origin


def meaning_of(action: argparse.Action) -> str:
    """The help of a flag without what stands behind its first clause."""
    return (action.help or "").replace("%%", "%").partition(";")[0]
