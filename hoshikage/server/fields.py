"""The fields of a request's body: one table for each route, from which it is read and from which its manual is made.

A value is read by the same check as a setting or a flag of that name. A name that is nearly one of ours is an error,
because it was meant to do something; one that means nothing here is answered with a warning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from hoshikage.checks import Check, closest, shown
from hoshikage.engine.request import KINDS, options_of
from hoshikage.errors import ParameterError
from hoshikage.server import jsons
from hoshikage.server.problem import Problem
from hoshikage.server.shell.exchange import Exchange

NEAR = 0.82  # of difflib's ratio: `temperatur`, `maxtokens`, `diffusion_step`, but not `min_tokens`
N_UNKNOWN = 20  # names that mean nothing here: looking for what each may have been takes time
LONG = 1 << 16  # bytes of a body
SUBJECTS = ("messages", "input", "template", "input_prefix", "prompt", "text", "prefix")  # hold what a model reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A line of a table."""

    name: str
    check: Check[Any]
    meaning: str
    default: Any = None  # as the manual shows it; a value that is absent stays absent
    required: bool = False
    option: str = ""  # the engine's option that it becomes; the route itself reads those that become none
    kinds: tuple[str, ...] = tuple(KINDS)  # of models on which it has an effect
    idle: Mapping[str, str] = field(default_factory=dict)  # keys of its object that have none -> why
    nullable: bool = False  # null is a value of it

    def warnings(self, value: Any) -> Iterator[str]:
        """Of what stands in it without an effect."""
        for key, why in self.idle.items():
            if isinstance(value, Mapping) and value.get(key) is not None:
                yield f"{self.name}.{key} has no effect: {why}"


def warned(warnings: Sequence[str]) -> dict[str, str]:
    """What stands beside an answer to which these warnings belong."""
    return {"warning": "; ".join(warnings)} if warnings else {}


@dataclass(frozen=True, slots=True)
class Given:
    """What a body said, clean."""

    values: Mapping[str, Any]  # of the fields that the route reads itself
    options: Mapping[str, Any]  # of the engine
    warnings: Sequence[str]

    @property
    def beside(self) -> dict[str, str]:
        """What stands beside an answer that has no warnings of its own."""
        return warned(self.warnings)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or what holds when it was not sent."""
        return self.values.get(name, default)

    def without(self, name: str) -> Given:
        """As if this field had not been sent."""
        return replace(self, values={key: value for key, value in self.values.items() if key != name})

    def having(self, **values: Any) -> Given:
        """As if these fields had been sent as well."""
        return replace(self, values={**self.values, **values})


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of one route, and those of others' servers that mean nothing here."""

    fields: Sequence[Field]
    idle: Mapping[str, str] = field(default_factory=dict)  # name -> why it has no effect
    by_name: dict[str, Field] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {entry.name: entry for entry in self.fields})

    def read(self, body: Mapping[str, Any]) -> Given:
        """Raises ParameterError for a wrong value, a missing field or a misspelt name. null is as if it were absent."""
        values: dict[str, Any] = {}
        options: dict[str, Any] = {}
        warnings: list[str] = []
        unknown: list[str] = []
        for name, value in body.items():
            entry = self.by_name.get(name)
            if value is None:
                values |= {name: None} if entry is not None and entry.nullable else {}
            elif entry is not None:
                self._take(entry, entry.check.check(name, value), values, options)
                warnings += entry.warnings(value)
            elif name in self.idle:
                warnings.append(f"{name} has no effect: {self.idle[name]}")
            else:
                unknown.append(self._unknown(name, len(unknown)))
        for entry in self.fields:
            if entry.required and entry.name not in values and entry.option not in options:
                raise ParameterError(entry.name, "it is missing", f"send {entry.meaning}")
        return Given(values, options, [*warnings, *unknown])

    def _take(self, entry: Field, value: Any, values: dict[str, Any], options: dict[str, Any]) -> None:
        if not entry.option:
            values[entry.name] = value
            return
        if value is None:  # said to be left to us
            return
        if entry.option in options and options[entry.option] != value:
            twin = next(other.name for other in self.fields if other.option == entry.option and other is not entry)
            raise ParameterError(entry.name, f"{twin} means the same and has another value", "send one of them")
        options[entry.option] = value

    def _unknown(self, name: str, n_before: int) -> str:
        """The warning of a name that nobody here knows. Raises Problem for a misspelt one, and for too many."""
        if n_before == N_UNKNOWN:
            sentence = f"more than {N_UNKNOWN} names are no parameters of this server, {shown(name)} among them"
            raise Problem(400, f"{sentence}; leave them out", "unknown_parameter", param=name)
        if found := closest(name.lower().replace("-", "_"), self.by_name, NEAR):
            cause, remedy = f"there is no such parameter, did you mean {found!r}?", "correct or leave it out"
            raise Problem(400, f"{shown(name)}: {cause} {remedy}", "unknown_parameter", param=name)
        return f"{shown(name)} is no parameter of this server and has no effect"


def engine_fields(leave_out: Iterable[str] = ()) -> list[Field]:
    """A field for each option of the engine, by its own name."""
    left_out = set(leave_out)
    rows: dict[str, Field] = {}
    for kind in KINDS.values():
        for option in options_of(kind):
            if option.name not in left_out and option.name not in rows:
                rows[option.name] = Field(
                    name=option.name,
                    check=option.check,
                    meaning=option.meaning,
                    default=option.default,
                    option=option.name,
                    kinds=kinds_of(option.name),
                )
    return list(rows.values())


def kinds_of(name: str) -> tuple[str, ...]:
    """The kinds of models that have an option."""
    return tuple(kind for kind, request in KINDS.items() if name in {option.name for option in options_of(request)})


def alias(name: str, of: str, meaning: str = "", check: Check[Any] | None = None) -> Field:
    """Another name of an engine's option; `check` where more may be said by it."""
    request = next(kind for kind in KINDS.values() if of in {row.name for row in options_of(kind)})
    option = next(row for row in options_of(request) if row.name == of)
    return Field(
        name=name,
        check=check or option.check,
        meaning=meaning or f"another name of {of}",
        default=option.default,
        option=of,
        kinds=kinds_of(of),
    )


def queried(exchange: Exchange, name: str) -> str | None:
    """A value of the query, where it is there."""
    values = parse_qs(exchange.query.decode("ascii", "replace")).get(name)
    return values[0] if values else None


async def given_in(exchange: Exchange, table: Table) -> Given:
    """What the body of a request says. A long one is read on another thread: others are served meanwhile."""

    def read() -> Given:
        try:
            return table.read(jsons.read_object(exchange.body, exchange.headers.get("content-type", "")))
        except RecursionError:
            raise jsons.wrong("the body is nested too deeply; send simpler values") from None

    given = read() if len(exchange.body) < LONG else await asyncio.to_thread(read)
    exchange.subject = next((name for name in SUBJECTS if name in given.values), None)
    return given


@contextmanager
def called(**names: str) -> Iterator[None]:
    """Errors call a field as the client does, whatever its name is further inside (inside=outside)."""
    try:
        yield
    except ParameterError as error:
        raise ParameterError(renamed(error.name, names), error.cause, error.remedy) from None
    except Problem as problem:
        about = problem.body["error"]
        about["param"] = about["param"] and renamed(about["param"], names)
        raise


def renamed(name: str, names: Mapping[str, str]) -> str:
    """The name of a field, or of a place in it."""
    for inside, outside in names.items():
        if name == inside or name.startswith((f"{inside}.", f"{inside}[", f"{inside}:")):
            return outside + name.removeprefix(inside)
    return name
