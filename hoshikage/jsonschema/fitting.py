"""Whether a schema accepts a value: of those that it lists, the ones that fit all else in it are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoshikage.checks import shown
from hoshikage.jsonschema.keywords import Schema, as_compared, check_keywords, plain, refuse, types_of

DEEPEST = 64


class Fitting:
    """Looks at values with the schemas of one whole.

    `found` gives what a reference leads to; `check_time` ends what takes too long.
    """

    def __init__(self, found: Callable[[str, Any], Any], check_time: Callable[[], None]) -> None:
        self._found = found
        self._check_time = check_time

    def holds(self, where: str, value: Any, schema: Any, depth: int = 0) -> bool:
        """Whether the schema accepts the value. `format` is for what we write: who lists values chose their form."""
        self._check_time()
        if depth > DEEPEST:
            raise refuse(where, "its values are nested too deeply, or its references lead in a circle", "correct it")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise refuse(where, f"{shown(schema)} is no schema", "correct it")
        check_keywords(where, schema)
        return (
            all(self._keeps_to(where, value, key, schema[key], depth) for key in plain(schema))
            and self._has_good_members(where, value, schema, depth)
            and self._has_good_items(where, value, schema, depth)
        )

    def _keeps_to(self, where: str, value: Any, key: str, wanted: Any, depth: int) -> bool:
        """Whether it keeps to a keyword that needs no other."""
        fits = [] if key not in CHOICES else [self.holds(where, value, option, depth + 1) for option in wanted]
        match key:
            case "$ref":
                return self.holds(where, value, self._found(where, wanted), depth + 1)
            case "allOf":
                return all(fits)
            case "anyOf":
                return any(fits)
            case "oneOf":
                return sum(fits) == 1
            case "type":
                return not kinds_of(value).isdisjoint(types_of(where, {"type": wanted}))
            case "const":
                return as_compared(value) == as_compared(wanted)
            case "enum":
                return as_compared(value) in map(as_compared, wanted)
            case "required":
                return not isinstance(value, dict) or value.keys() >= {*wanted}
        return key not in BOUNDS or wanted is None or within(value, key, wanted)

    def _has_good_members(self, where: str, value: Any, schema: Schema, depth: int) -> bool:
        if not isinstance(value, dict):
            return True
        named, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(self.holds(where, member, named.get(name, others), depth + 1) for name, member in value.items())

    def _has_good_items(self, where: str, value: Any, schema: Schema, depth: int) -> bool:
        if not isinstance(value, list):
            return True
        heads, tail = schema.get("prefixItems", []), schema.get("items", True)
        wanted = [*heads[: len(value)], *[tail] * (len(value) - len(heads))]
        return all(self.holds(where, *pair, depth + 1) for pair in zip(value, wanted, strict=True))


CHOICES = {"allOf", "anyOf", "oneOf"}
BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {  # of which type, and how they are kept to
    "minimum": ("number", lambda value, bound: value >= bound),
    "maximum": ("number", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("number", lambda value, bound: value > bound),
    "exclusiveMaximum": ("number", lambda value, bound: value < bound),
    "minLength": ("string", lambda value, least: len(value) >= least),
    "maxLength": ("string", lambda value, most: len(value) <= most),
    "minItems": ("array", lambda value, least: len(value) >= least),
    "maxItems": ("array", lambda value, most: len(value) <= most),
}


def within(value: Any, key: str, bound: float) -> bool:
    """Whether it keeps to a bound; one on another type's values says nothing of it."""
    kind, keeps = BOUNDS[key]
    return kind not in kinds_of(value) or keeps(value, bound)


def kinds_of(value: Any) -> set[str]:
    """The types that a value has: a whole number is a number, too."""
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, (int, float)):
        return {"number", "integer"} if isinstance(value, int) or value.is_integer() else {"number"}
    kinds: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return {kinds.get(type(value), "null")}
