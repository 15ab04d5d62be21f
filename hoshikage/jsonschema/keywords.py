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
    "discriminator", "example", "externalDocs", "xml", "propertyNames",
}  # fmt: skip
ANY_NAME: tuple[Any, ...] = ({}, {"type": "string"})  # the `propertyNames` of zod's records
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
MEMBERS, ITEMS = {"properties", "additionalProperties"}, {"prefixItems", "items"}  # those that say what others leave
SHOWN = 120  # characters at each end of the name of a place


def refuse(where: str, cause: str, remedy: str = "write the schema without it") -> ParameterError:
    """The error about one place of a schema."""
    if len(where) > 2 * SHOWN:
        where = f"{where[:SHOWN]}...{where[-SHOWN:]}"
    return ParameterError(where, cause, remedy)


def check_keywords(where: str, schema: Schema) -> None:
    """Refuses what could not be kept to."""
    for key in schema:
        if key not in READ and not is_annotation(key, schema[key]):
            known = nearest(key, READ)
            raise refuse(where, f"the keyword {shown(key)} cannot be promised of an answer{known}")
        check_shape(f"{where}.{key}", key, schema[key])


def is_annotation(key: str, value: Any) -> bool:
    """Whether it says nothing about values. Names are texts: who says that alone of them says nothing."""
    if key == "propertyNames":
        return value is True or (isinstance(value, dict) and plain(value) in ANY_NAME)
    return key in ANNOTATIONS


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
    first, second = plain(first), plain(second)
    both = dict(first)
    for key, value in second.items():
        if key not in both or same(both[key], value):
            both[key] = value
        elif key in MERGERS:
            both[key] = MERGERS[key](where, both[key], value)
        elif key not in MEMBERS | ITEMS:
            raise refuse(f"{where}.{key}", "two schemas that hold together differ in it")
    return {**both, **merged_members(first, second), **merged_items(first, second)}


def merged_members(first: Schema, second: Schema) -> dict[str, Any]:
    """What one does not name has to be as it wants all others, and may not be there if it wants none."""
    keys = MEMBERS & (first.keys() | second.keys())
    names = {**first.get("properties", {}), **second.get("properties", {})}
    allowed = [name for name in names if not forbids(first, name) and not forbids(second, name)]
    merged = {
        "properties": {name: both_of(member_of(first, name), member_of(second, name)) for name in allowed},
        "additionalProperties": both_of(others_of(first), others_of(second)),
    }
    return {key: merged[key] for key in merged if key in keys}


def others_of(schema: Schema) -> Any:
    return schema.get("additionalProperties", True)


def member_of(schema: Schema, name: str) -> Any:
    return schema.get("properties", {}).get(name, others_of(schema))


def forbids(schema: Schema, name: str) -> bool:
    """Whether it wants no property but those that it names, and this is none of them."""
    return others_of(schema) is False and name not in schema.get("properties", {})


def merged_items(first: Schema, second: Schema) -> dict[str, Any]:
    """Place by place; where nothing may stand the array ends."""
    if not ITEMS & (first.keys() | second.keys()):
        return {}
    n_heads = max(len(side.get("prefixItems", [])) for side in (first, second))
    heads = [both_of(item_of(first, i), item_of(second, i)) for i in range(n_heads)]
    n_possible = next((i for i, head in enumerate(heads) if head is False), n_heads)
    tail = both_of(item_of(first, n_heads), item_of(second, n_heads))
    return {"prefixItems": heads[:n_possible], "items": tail if n_possible == n_heads else False}


def item_of(schema: Schema, place: int) -> Any:
    heads = schema.get("prefixItems", [])
    return heads[place] if place < len(heads) else schema.get("items", True)


def both_of(first: Any, second: Any) -> Any:
    """The schema of what has to be as both want it."""
    if first is False or second is False:
        return False
    if first is True or first == {} or same(first, second):
        return second
    return first if second is True or second == {} else {"allOf": [first, second]}


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
    "required": lambda _, first, second: [*dict.fromkeys((*first, *second))],
    "type": common_types,
    "enum": common_values,
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), tightest(max)),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), tightest(min)),
}
