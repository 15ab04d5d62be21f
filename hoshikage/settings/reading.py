"""Settings from all their sources, merged once: defaults < `.env` files < environment < flags. No state, any thread.

Each value keeps where it came from, so that a person can be told. Variables that are not in the table are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hoshikage.checks import closest, nearest
from hoshikage.envfile import HERE, VARIABLE, env_files_of, strays_in, variables_in
from hoshikage.errors import ParameterError
from hoshikage.settings.row import Row
from hoshikage.settings.table import Settings, table

OUR_PREFIXES = ("HOSHIKAGE_", "DIFFUSION_")
READ_ELSEWHERE = ("HOSHIKAGE_LOG", "HOSHIKAGE_ISA")  # by compiled modules, as they are loaded


class Found(NamedTuple):
    """The value of a setting, and where it came from."""

    row: Row
    value: Any
    origin: str  # "default", a file and a line, "environment" or "flag"

    @property
    def is_from_here(self) -> bool:
        """Whether a file in the working directory says so, which may have come with what was downloaded."""
        return self.origin.rpartition(":")[0] == str(HERE)


def found(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    env_files: Sequence[Path] | None = None,
) -> dict[str, Found]:
    """Every setting by its name, from the strongest of its sources; a flag that is None is as if it were absent."""
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    refuse_unknown(flags)
    environment = with_config_path(environment, flags)
    values = {row.name: Found(row, row.default, "default") for row in table()}
    for source in [*map(from_file, env_files_of(environment, env_files)), from_environment(environment)]:
        values |= source
    for name, value in flags.items():
        row = values[name].row
        values[name] = Found(row, row.check.check(name, value), "flag")
    return values


def read(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    env_files: Sequence[Path] | None = None,
) -> Settings:
    """The settings, merged from all sources."""
    merged = found(flags, environment=environment, env_files=env_files)
    return Settings(**{name: one.value for name, one in merged.items()})


def replaced(settings: Settings, flags: Mapping[str, object]) -> Settings:
    """The settings with some of them changed by name."""
    refuse_unknown(flags)
    given = {name: value for name, value in flags.items() if value is not None}
    return replace(settings, **given)  # type: ignore[arg-type]  # checked in __post_init__


def refuse_unknown(flags: Mapping[str, object]) -> None:
    known = {row.name for row in table()}
    for name in flags:
        if name not in known:
            raise ParameterError(name, f"there is no such setting{nearest(name, known)}", "see docs/settings.md")


def from_file(path: Path) -> dict[str, Found]:
    """What a `.env` file sets."""
    values = {}
    variables = variables_in(path)
    for row in table():
        if (given := variables.get(row.variable)) and (text := given.value.strip()):
            where = f"{path}:{given.line}"
            refuse_misplaced(row, path, where)
            values[row.name] = Found(row, row.check.parse(f"{where}: {row.variable}", text), where)
    return values


def refuse_misplaced(row: Row, path: Path, where: str) -> None:
    """Two settings do not belong into every file. A folder that was downloaded must not bring code to be run."""
    if row.name == "config_path":
        cause, remedy = "a file cannot say which file is read", "set it in the environment"
    elif row.name == "lib_path" and path == HERE:
        cause, remedy = "the working directory cannot say which library is loaded", "set it in ~/.config/hoshikage/.env"
    else:
        return
    raise ParameterError(f"{where}: {row.variable}", cause, remedy)


def from_environment(environment: Mapping[str, str]) -> dict[str, Found]:
    """What environment variables set."""
    return {
        row.name: Found(row, row.check.parse(f"environment variable {row.variable}", text), "environment")
        for row in table()
        if (text := environment.get(row.variable, "").strip())
    }


def with_config_path(environment: Mapping[str, str], flags: Mapping[str, object]) -> Mapping[str, str]:
    """The flag that names the file is stronger than the variable, as every flag is."""
    path = flags.get("config_path")
    return {**environment, VARIABLE: str(path)} if path else environment


def misspelt(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    env_files: Sequence[Path] | None = None,
) -> Iterator[str]:
    """A sentence for each variable that is nearly one of ours and has no effect, and for lines of a `.env` file that
    set nothing. Of the environment, which is everybody's, only what begins as ours do is looked at."""
    environment, known = with_config_path(environment, flags or {}), [row.variable for row in table()]
    for name in environment:
        if name.startswith(OUR_PREFIXES) and (meant := meant_by(name)):
            yield f"environment variable {name} has no effect, did you mean {meant}?"
    for path in env_files_of(environment, env_files):
        for name, given in variables_in(path).items():
            if meant := meant_by(name):
                yield f"{path}:{given.line}: {name} has no effect, did you mean {meant}?"
        for number, word in strays_in(path):
            if word in known or meant_by(word):  # others may be lines of somebody's key
                yield f"{path}:{number}: {word} has no effect, there is no = behind it"


def meant_by(name: str) -> str | None:
    """The variable that was probably meant, where this is none."""
    known = [row.variable for row in table()]
    return None if name in (*known, *READ_ELSEWHERE) else closest(name.upper(), known, 0.8)
