"""Arguments: a parser that guesses what a typo meant, and flags made from the tables of options and settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NoReturn, Protocol

from hoshikage.checks import Check, Flag, Whole, closest
from hoshikage.errors import ParameterError

LIKE_A_WORD = re.compile(r"-|-\d+\.?\d*")  # standard input, and numbers


class TableRow(Protocol):
    """A line of a table that becomes a flag."""

    @property
    def name(self) -> str: ...
    @property
    def check(self) -> Check[Any]: ...
    @property
    def default(self) -> Any: ...
    @property
    def meaning(self) -> str: ...


class Parser(argparse.ArgumentParser):
    """Flags are written out in full; one that is nearly right is named in the error."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """As `parse_args`, with the chosen command's own flags among the guesses."""
        arguments, unknown = self.parse_known_args(argv)
        command = self._chosen(getattr(arguments, "command", None))
        before, behind = _apart(argv, unknown)
        flags = list(filter(_is_flag, before))
        words = command._late(arguments, [word for word in before if not _is_flag(word)] + behind)
        if flags:
            command.error(f"there is no {flags[0]}{command.guess(flags[0])}")
        if words:
            command.error(f"there is no place for {words[0]!r}; {command._why_not(words[0])}")
        return arguments

    def _late(self, arguments: argparse.Namespace, words: list[str]) -> list[str]:
        """Gives optional words their place behind flags; what nobody wants is returned.

        argparse settles such a word as absent when it has met the one before it and then a flag.
        """
        for action in self._actions:
            if words and action.nargs == "?" and not action.option_strings and getattr(arguments, action.dest) is None:
                setattr(arguments, action.dest, words.pop(0))
            elif words and action.nargs == "*" and not action.option_strings:
                setattr(arguments, action.dest, [*getattr(arguments, action.dest), *words])
                words = []
        return words

    def _why_not(self, word: str) -> str:
        """Why a word has no place."""
        if all(action.option_strings for action in self._actions):
            return "this command takes flags only"
        return "flags stand before --" if _is_flag(word) else "put a text of several words into quotes"

    def error(self, message: str) -> NoReturn:
        """One sentence, one hint, exit code 2."""
        if found := re.search(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            known = [name.strip("' ") for name in found[3].split(",")]
            message = _no_such(found[1], found[2], known)
        self.exit(2, f"{self.prog}: {message}\nsee {self.prog} --help\n")

    def guess(self, word: str) -> str:
        """', did you mean --x?' where one comes close."""
        return _nearest(word.partition("=")[0], self._option_string_actions)

    def _chosen(self, name: str | None) -> Parser:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and name in action.choices:
                return action.choices[name]  # type: ignore[no-any-return]
        return self


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not LIKE_A_WORD.fullmatch(word)


def _apart(argv: Sequence[str], left: list[str]) -> tuple[list[str], list[str]]:
    """What argparse left, from before and from behind `--`. It drops that sign where a word behind it had a place."""
    if "--" in left:
        at = left.index("--")
        return left[:at], left[at + 1 :]
    behind = list(argv[argv.index("--") + 1 :]) if "--" in argv else []
    at = next(at for at in range(len(left) + 1) if left[at:] == behind[len(behind) - len(left[at:]) :])
    return left[:at], left[at:]


def _no_such(place: str, word: str, known: list[str]) -> str:
    """What is said of a word that is none of those that may stand there."""
    if place == "COMMAND":
        to_a_model = "; a model answers with `hoshikage run MODEL PROMPT`"
        return f"there is no command {word!r}{_nearest(word, known) or to_a_model}"
    return f"{place}: there is no {word!r}{_nearest(word, known)}"


def _nearest(word: str, known: Iterable[str]) -> str:
    match = closest(word, known, 0.6)
    return f", did you mean {match}?" if match else ""


def whole(least: int, most: int) -> Callable[[str], int]:
    """argparse's type of a whole number in these bounds."""

    def read(text: str) -> int:
        try:
            return Whole(least, most).parse("", text)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(error.sentence) from None

    return read


def flag_of(name: str) -> str:
    """How an option is written on the command line."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, title: str, rows: Iterable[TableRow]) -> None:
    """A flag for each row of a table; the text is read by `read_flags`, with the row's own check."""
    group = parser.add_argument_group(title)
    for row in rows:
        default = "" if row.default in (None, "", (), False) else f" [{row.check.spelled(row.default)}]"
        about = (row.meaning + default).replace("%", "%%")
        if isinstance(row.check, Flag):
            group.add_argument(flag_of(row.name), action=argparse.BooleanOptionalAction, default=None, help=about)
        else:
            action = "append" if row.check.repeats else "store"
            group.add_argument(flag_of(row.name), metavar=row.check.metavar, action=action, help=about)


def read_flags(arguments: argparse.Namespace, rows: Iterable[TableRow]) -> dict[str, object]:
    """The values of the flags that were given."""
    values: dict[str, object] = {}
    for row in rows:
        given = getattr(arguments, row.name)
        if given is None:
            continue
        if isinstance(given, list):
            given = tuple(chain.from_iterable(row.check.parse(flag_of(row.name), text) for text in given))
        elif isinstance(given, str):
            given = row.check.parse(flag_of(row.name), given)
        values[row.name] = given
    return values
