"""The keywords of JSON Schema: which are read, which say nothing about a value, and how two schemas become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from hoshikage.checks import nearest, shown
from hoshikage.errors import ParameterError

Schema: TypeAlias = Mapping[str, Any]

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
# About people and tools, not about values. `format` is among them by the standard, but for the formats that we write.
ANNOTATIONS = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "nullable", "strict",
    "$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "contentMediaType", "contentEncoding",
    "discriminator", "example", "externalDocs", "xml",
}  # fmt: skip
OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
}
OF_TYPE["integer"] = OF_TYPE["number"]
ANY_TYPE = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}
READ = ANY_TYPE.union(*OF_TYPE.values())
LISTS = {"enum", "anyOf", "oneOf", "allOf", "required", "prefixItems"}
NUMBERS = OF_TYPE["number"] | {"minLength", "maxLength", "minItems", "maxItems"}
SHOWN = 120  # characters at each end of the name of a place


def refuse(where: str, cause: str, remedy: str = "write the schema without it") -> ParameterError:
    """The error about one place of a schema."""
    if len(where) > 2 * SHOWN:
        where = f"{where[:SHOWN]}...{where[-SHOWN:]}"
    return ParameterError(where, cause, remedy)


def check_keywords(where: str, schema: Schema) -> None:
    """Refuses what could not be kept to."""
    for key in schema:
        if key not in READ and key not in ANNOTATIONS:
            known = nearest(key, READ)
            raise refuse(where, f"the keyword {shown(key)} cannot be promised of an answer{known}")
        check_shape(f"{where}.{key}", key, schema[key])


def check_shape(where: str, key: str, value: Any) -> None:
    """Refuses what is of no use as the value of a keyword."""
    if key in LISTS and not isinstance(value, list):
        raise refuse(where, f"{shown(value)} is not a list", "correct it")
    if key == "required" and not all(isinstance(name, str) for name in value):
        raise refuse(where, "it is no list of the names of properties", "correct it")
    if key == "properties" and not isinstance(value, dict):
        raise refuse(where, "it is no object of schemas with their names", "correct it")
    if key == "$ref" and not isinstance(value, str):
        raise refuse(where, f"{shown(value)} leads out of the schema", "use #/$defs/...")
    if key in NUMBERS and value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise refuse(where, f"{shown(value)} is no number that can be used", "correct it")


def plain(schema: Schema) -> dict[str, Any]:
    """Without what says nothing about values."""
    return {key: value for key, value in schema.items() if key not in ANNOTATIONS}


def types_of(where: str, schema: Schema) -> tuple[str, ...]:
    """The types that a value may have; where none is named, those that its other keywords are about."""
    named = schema.get("type")
    if named is None:
        meant = [kind for kind in TYPES if kind in OF_TYPE and OF_TYPE[kind] & schema.keys()]
        return tuple(kind for kind in meant if kind != "integer") or TYPES
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or not all(name in TYPES for name in names):
        raise refuse(f"{where}.type", f"{shown(named)} is no type", f"use one of {', '.join(TYPES)}")
    return tuple(dict.fromkeys(names))


def merged(where: str, first: Schema, second: Schema) -> dict[str, Any]:
    """One schema that holds what both demand."""
    both = dict(plain(first))
    for key, value in plain(second).items():
        if key not in both or same(both[key], value):
            both[key] = value
        elif key in MERGERS:
            both[key] = MERGERS[key](where, both[key], value)
        else:
            raise refuse(f"{where}.{key}", "two schemas that hold together differ in it")
    return both


def merged_properties(where: str, first: Schema, second: Schema) -> dict[str, Any]:
    both = dict(first)
    for name, schema in second.items():
        both[name] = {"allOf": [both[name], schema]} if name in both and not same(both[name], schema) else schema
    del where
    return both


def common_types(where: str, first: Any, second: Any) -> list[str]:
    left, right = (types_of(where, {"type": value}) for value in (first, second))
    common = [kind for kind in left if kind in right or (kind == "integer" and "number" in right)]
    common += [kind for kind in right if kind == "integer" and "number" in left and kind not in common]
    if not common:
        raise refuse(f"{where}.type", "two schemas that hold together have no type in common", "correct it")
    return common


def common_values(where: str, first: list[Any], second: list[Any]) -> list[Any]:
    known = {as_compared(value) for value in second}
    common = [value for value in first if as_compared(value) in known]
    if not common:
        raise refuse(f"{where}.enum", "two schemas that hold together have no value in common", "correct it")
    return common


def same(first: object, second: object) -> bool:
    """Equal as JSON."""
    return first is second or as_compared(first) == as_compared(second)


def as_compared(value: Any) -> str:
    """What is one text for two values that JSON Schema calls equal: 1 is 1.0, and is not true."""
    return json.dumps(with_whole_numbers(value), sort_keys=True)


def with_whole_numbers(value: Any) -> Any:
    """The same value with 1 in place of 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [with_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: with_whole_numbers(item) for name, item in value.items()}
    return value


def tightest(choose: Callable[[list[float]], float]) -> Callable[[str, Any, Any], float]:
    """Of two bounds the one that counts; null is none."""
    return lambda _, first, second: choose([bound for bound in (first, second) if bound is not None])


MERGERS: dict[str, Callable[[str, Any, Any], Any]] = {
    "properties": merged_properties,
    "required": lambda _, first, second: [*dict.fromkeys((*first, *second))],
    "type": common_types,
    "enum": common_values,
    "additionalProperties": lambda _, first, second: False if False in (first, second) else {"allOf": [first, second]},
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), tightest(max)),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), tightest(min)),
}
