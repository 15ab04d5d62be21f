"""Schemas of functions' parameters, which become parts of a larger schema."""

from __future__ import annotations

from typing import Any

from hoshikage.jsonschema.keywords import refuse

DATA = {"const", "enum", "default", "examples", "example"}  # a `$ref` in them is a value's own
NAMED = {"properties", "$defs", "definitions"}  # schemas with names, and `$ref` may be one of the names


def moved(schema: Any, pointer: str) -> Any:
    """The same schema for that place of another: `#` in it means its own root, and would mean the other's."""
    try:
        return moved_schema(schema, pointer)
    except RecursionError:
        raise refuse("parameters", "it is nested too deeply") from None


def moved_schema(schema: Any, pointer: str) -> Any:
    if isinstance(schema, list):
        return [moved_schema(part, pointer) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: moved_keyword(key, value, pointer) for key, value in schema.items()}


def moved_keyword(key: str, value: Any, pointer: str) -> Any:
    if key in DATA:
        return value
    if key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
        return pointer + value[1:]
    if key in NAMED and isinstance(value, dict):
        return {name: moved_schema(part, pointer) for name, part in value.items()}
    return moved_schema(value, pointer)
