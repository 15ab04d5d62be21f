"""Calls of functions that are written as markup, as Qwen3-Coder and GLM do: a tag for each argument, and no JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# A value ends where a tag of its kind stands, so that no text takes longer than its length.
QWEN = re.compile(r"\s*<function=([^<>\n]+)>")
QWEN_ARGUMENT = re.compile(r"<parameter=([^<>\n]+)>\n?((?:(?!</?parameter).)*)</parameter>", re.DOTALL)
GLM = re.compile(r"\s*([^<>\s]+)\s*(?=<arg_key>|$)")
GLM_ARGUMENT = re.compile(
    r"<arg_key>([^<]*)</arg_key>\s*<arg_value>((?:(?!<arg_key>|</?arg_value>).)*)</arg_value>", re.DOTALL
)
SHAPES = ((QWEN, QWEN_ARGUMENT), (GLM, GLM_ARGUMENT))


def call_in(text: str, offered: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of the call that a text is; None if it is none of a function that is offered."""
    for shape, argument in SHAPES:
        found = shape.match(text)
        if found is not None and found[1] in offered:
            kinds = properties_of(offered[found[1]])
            pairs = ((name.strip(), value) for name, value in argument.findall(text, found.end()))
            return found[1], {name: meant(value.removesuffix("\n") if shape is QWEN else value, kinds.get(name))
                              for name, value in pairs}  # fmt: skip
    return None


def properties_of(schema: Any) -> Mapping[str, Any]:
    """The schemas of a function's arguments."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def meant(value: str, schema: Any) -> Any:
    """What stands between two tags: text, unless the schema says that it is something else."""
    kinds = set(kinds_of(schema))
    if not kinds or ("string" in kinds and not (value == "null" and "null" in kinds)):
        return value
    try:
        return json.loads(value, parse_constant=no_number)
    except (ValueError, RecursionError):
        return value


def kinds_of(schema: Any) -> Iterator[str]:
    """The types that a schema names."""
    if not isinstance(schema, Mapping):
        return
    kind = schema.get("type")
    yield from (entry for entry in (kind if isinstance(kind, list) else [kind]) if isinstance(entry, str))
    for name in ("anyOf", "oneOf"):
        for choice in schema[name] if isinstance(schema.get(name), list) else ():
            yield from kinds_of(choice)


def no_number(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON
