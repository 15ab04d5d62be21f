"""`.env` files: which are read, what stands in them, and how a value is written into one. Any thread.

Lines of NAME=VALUE; `export` in front, quotes around and a comment behind are understood. Nothing but the variables
that somebody asks for is taken from such a file, and nothing is written to the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hoshikage.errors import ParameterError

VARIABLE = "HOSHIKAGE_CONFIG_PATH"
HERE = Path(".env")
LARGEST = 1 << 20  # bytes: whatever is larger was not written by hand
PLAIN = re.compile(r"[^\s'\"#\\][^\r\n'\"#\\]*(?<!\s)")
ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


class Assignment(NamedTuple):
    """What a file gives a variable, and where."""

    value: str
    line: int  # from 1


def expanded(path: str) -> Path:
    """`~` is the home folder; where that is unknown, it stays as it is written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 -- Path's own raises


def config_folder(environment: Mapping[str, str]) -> Path:
    """Where a person's own files are: never below the working directory, where others may have put them."""
    named = Path(environment.get("XDG_CONFIG_HOME", ""))
    return (named if named.is_absolute() else home_folder(environment) / ".config") / "hoshikage"


def home_folder(environment: Mapping[str, str]) -> Path:
    home = expanded(environment.get("HOME") or "~")
    if not home.is_absolute():
        raise ParameterError("HOME", "this user has no home folder", "set it, or XDG_CONFIG_HOME, to an absolute path")
    return home


def env_files_of(environment: Mapping[str, str], named: Sequence[Path] | None = None) -> list[Path]:
    """The `.env` files that exist, the strongest last; `named` are looked at instead of the usual ones."""
    if named is None and (only := environment.get(VARIABLE)):
        path = expanded(only)
        if not is_file(path):
            raise ParameterError(VARIABLE, f"{path} is not a file", "name a .env file or unset it")
        return [path]
    if named is not None:
        return list(filter(is_file, named))
    return [*own_files(environment), *filter(is_trusted, filter(is_file, [HERE]))]


def own_files(environment: Mapping[str, str]) -> list[Path]:
    """The files that a person has put where only they can, or has named: what is loaded as code is read from these."""
    if environment.get(VARIABLE):
        return env_files_of(environment)
    try:
        path = config_folder(environment) / ".env"
    except ParameterError:  # without a home folder nobody has put one there
        return []
    return [path] if is_file(path) else []


def is_file(path: Path) -> bool:
    """Whether a file is there, for us: a folder may be one that only others may look into."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_trusted(path: Path) -> bool:
    """Whether a file in the working directory is ours: in a folder of everybody's anybody can leave one."""
    owner = path.stat().st_uid
    if owner in (os.geteuid(), 0) or str(owner) == os.environ.get("SUDO_UID"):
        return True
    raise ParameterError(
        str(path.absolute()),
        "it belongs to another user",
        f"name it as {VARIABLE} if it is to be read, or work elsewhere",
    )


def variables_in(path: Path) -> dict[str, Assignment]:
    """All assignments of a file; of two to the same name the last holds."""
    found = {}
    for number, line in enumerate(lines_of(path), 1):
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and not line.startswith("#"):
            found[name.strip()] = Assignment(unquoted(value.strip()), number)
    return found


def strays_in(path: Path) -> Iterator[tuple[int, str]]:
    """The numbers of lines that set nothing, and their first words."""
    for number, line in enumerate(lines_of(path), 1):
        if line and "=" not in line and not line.startswith("#"):
            yield number, re.split(r"[\s:]", line.removeprefix("export "), maxsplit=1)[0]


def lines_of(path: Path) -> list[str]:
    """A file's lines, without the space around them."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        lines = re.split(r"\r\n|\n|\r", raw.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(str(path), f"cannot be read: {error}", "make it a readable UTF-8 file") from error
    if len(raw) > LARGEST:
        raise ParameterError(str(path), f"it has more than {LARGEST} bytes", "name a file of settings")
    return [line.strip() for line in lines]


def unquoted(text: str) -> str:
    """The value that the right side of a line means. Backslashes mean something between double quotes only."""
    if text.startswith("'") and "'" in text[1:]:
        return text[1 : text.index("'", 1)]
    if match := re.match(r'"((?:[^"\\]|\\.)*)"', text):
        return re.sub(r"\\(.)", lambda found: ESCAPED.get(found[1], found[1]), match[1])
    return text.partition(" #")[0].strip() if not text.startswith("#") else ""


def quoted(value: str) -> str:
    """The right side of a line that means this value."""
    if not value or PLAIN.fullmatch(value):
        return value
    if "'" not in value and value.isprintable():
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    for letter, meant in ESCAPED.items():
        escaped = escaped.replace(meant, f"\\{letter}")
    return f'"{escaped}"'
