"""Calls of functions that are written as markup, as Qwen3-Coder and GLM do: a tag for each argument, and no JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

QWEN = re.compile(r"\s*<function=([^<>\n]+)>(.*?)(?:</function>)?\s*", re.DOTALL)
QWEN_ARGUMENT = re.compile(r"<parameter=([^<>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
GLM = re.compile(r"\s*([^<>\s]+)\s*((?:<arg_key>.*)?)", re.DOTALL)
GLM_ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
SHAPES = ((QWEN, QWEN_ARGUMENT), (GLM, GLM_ARGUMENT))


def call_in(text: str, offered: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of the call that a text is; None if it is none of a function that is offered."""
    for shape, argument in SHAPES:
        found = shape.fullmatch(text)
        if found is not None and found[1] in offered:
            kinds = properties_of(offered[found[1]])
            return found[1], {name.strip(): meant(value, kinds.get(name.strip())) for name, value in
                              argument.findall(found[2])}  # fmt: skip
    return None


def properties_of(schema: Any) -> Mapping[str, Any]:
    """The schemas of a function's arguments."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def meant(value: str, schema: Any) -> Any:
    """What stands between two tags: text, unless the schema says that it is something else."""
    if not isinstance(schema, Mapping) or schema.get("type", "string") == "string":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
