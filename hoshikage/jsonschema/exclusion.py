"""Whether two schemas of a `oneOf` exclude each other: then it can be written as an `anyOf` is. In doubt they do not.

It is about what a grammar of ours writes, which is less than a schema allows: an object has its named properties only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoshikage.jsonschema.fitting import kinds_of
from hoshikage.jsonschema.keywords import TYPES, Schema, as_compared, refuse, types_of

MOST_LOOKS = 20_000  # at pairs of schemas; what people write takes a few
DEEPEST = 16


class Exclusion:
    """Compares the schemas of one whole; `opened` gives a schema without `$ref` and `allOf`."""

    def __init__(self, opened: Callable[[Any], Schema]) -> None:
        self._opened = opened
        self._n_left = MOST_LOOKS

    def holds(self, first: Any, second: Any, depth: int = 0) -> bool:
        """Whether nothing that is written for the first schema is accepted by the second."""
        self._n_left -= 1
        if self._n_left < 0:
            raise refuse("oneOf", "it takes too long to tell its schemas apart", "write anyOf, or fewer schemas")
        if depth > DEEPEST:
            return False
        first, second = self._opened(first), self._opened(second)
        if (options := options_of(first)) is not None:
            return all(self.holds(option, second, depth + 1) for option in options)
        if (options := options_of(second)) is not None:
            return all(self.holds(first, option, depth + 1) for option in options)
        ours, theirs = values_of(first), values_of(second)
        if ours is not None and theirs is not None:
            return not {*map(as_compared, ours)} & {*map(as_compared, theirs)}
        for values, other in ((ours, second), (theirs, first)):
            if values is not None:
                return not any(kinds_of(value) & accepted(other) for value in values)
        return all(kind == "object" and self._of_objects(first, second, depth) for kind in common(first, second))

    def _of_objects(self, first: Schema, second: Schema, depth: int) -> bool:
        named, others = first.get("properties", {}), first.get("additionalProperties", True)
        always = first.get("required", [])
        written = {*named, *always}
        if (written or others is False) and any(name not in written for name in second.get("required", [])):
            return True
        accepted = second.get("properties", {})
        for name in always:
            if name in accepted and self.holds(named.get(name, others), accepted[name], depth + 1):
                return True
            if name not in accepted and second.get("additionalProperties", True) is False:
                return True
        return False


def options_of(schema: Schema) -> list[Any] | None:
    """The schemas of which it stands for any one; None where it is one itself."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            rest = {name: value for name, value in schema.items() if name != key}
            return [{**rest, "allOf": [option]} for option in schema[key]]
    return None


def values_of(schema: Schema) -> list[Any] | None:
    """All that it can be, where that is a list."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def common(first: Schema, second: Schema) -> set[str]:
    """The types that may be written for the first and are accepted by the second."""
    return with_both_numbers({*types_of("oneOf", first)}) & accepted(second)


def accepted(schema: Schema) -> set[str]:
    """The types of a schema; one that names none accepts all, whatever its other keywords are about."""
    return with_both_numbers({*types_of("oneOf", schema)} if "type" in schema else {*TYPES})


def with_both_numbers(kinds: set[str]) -> set[str]:
    """A whole number is a number as well."""
    return kinds | {"integer", "number"} if {"integer", "number"} & kinds else kinds
