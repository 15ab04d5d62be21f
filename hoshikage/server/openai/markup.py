"""Calls of functions that are written otherwise than as JSON objects.

As markup, with a tag for each argument (Qwen3-Coder, GLM); as a name and an object (Mistral); as Python (LFM2).
"""

from __future__ import annotations

import ast
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
MISTRAL = re.compile(r"\s*([^\[\]{}\s]+)\s*(?:\[CALL_ID\][^\[\]{}]*)?\[ARGS\]")
MOST_PYTHON = 1 << 16  # characters: reading Python takes time and memory

Call = tuple[str, Any]  # a name, and the arguments as an object or as its text


def calls_in(text: str, offered: Mapping[str, Any]) -> list[Call]:
    """The calls that a text is; none unless all are of functions that are offered."""
    call = marked_up(text, offered) or named(text)
    calls = [call] if call is not None else in_python(text)
    return calls if all(name in offered for name, _ in calls) else []


def named(text: str) -> Call | None:
    """A call as Mistral writes it."""
    found = MISTRAL.match(text)
    return None if found is None else (found[1], text[found.end() :].strip())


def in_python(text: str) -> list[Call]:
    """A list of calls whose arguments have names and are literals."""
    if len(text) > MOST_PYTHON or not text.strip().startswith("["):
        return []
    try:
        body = ast.parse(text.strip(), mode="eval").body
        calls = [call_of(entry) for entry in body.elts] if isinstance(body, ast.List) else []
        json.dumps(calls, allow_nan=False)  # a set is a literal, too, and no JSON
        return calls
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return []


def call_of(entry: ast.expr) -> Call:
    """Raises ValueError for what is no such call."""
    if not isinstance(entry, ast.Call) or entry.args or any(each.arg is None for each in entry.keywords):
        raise ValueError(entry)
    return ast.unparse(entry.func), {str(each.arg): ast.literal_eval(each.value) for each in entry.keywords}


def marked_up(text: str, offered: Mapping[str, Any]) -> Call | None:
    """A call as Qwen3-Coder or GLM writes it; None if it is none of a function that is offered."""
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
