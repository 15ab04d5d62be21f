"""Calls of functions that are written otherwise than as JSON objects, by the marks that stand round them.

As markup, with a tag for each argument (Qwen3-Coder, GLM); as a name and an object (Mistral); as Python (LFM2).
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"
PYTHONIC, MISTRAL = "<|tool_call_start|>", "[TOOL_CALLS]"
MARKS = {OPEN: CLOSE, PYTHONIC: "<|tool_call_end|>", MISTRAL: ""}  # Mistral's ends with the JSON behind it
# A value ends where a tag of its kind stands, so that no text takes longer than its length.
QWEN = re.compile(r"\s*<function=([^<>\n]+)>")
QWEN_END = "</function>"
QWEN_ARGUMENT = re.compile(r"<parameter=([^<>\n]+)>\n?((?:(?!</?parameter).)*)</parameter>", re.DOTALL)
GLM = re.compile(r"\s*([^<>\s]+)\s*(?=<arg_key>|$)")
GLM_ARGUMENT = re.compile(
    r"<arg_key>([^<]*)</arg_key>\s*<arg_value>((?:(?!<arg_key>|</?arg_value>).)*)</arg_value>", re.DOTALL
)
SHAPES = ((QWEN, QWEN_ARGUMENT), (GLM, GLM_ARGUMENT))
MISTRAL_HEAD = re.compile(r"\s*(?:([^\[\]{}\s]+)\s*(?:\[CALL_ID\][^\[\]{}]*)?\[ARGS\])?\s*")
MOST_PYTHON = 1 << 16  # characters: reading Python takes time and memory
# What is no Python in calls that are otherwise: names of functions and arguments, and JSON's constants; not in strings.
# Nothing is gone back over (`+` behind a quantifier), so that no text takes longer than its length.
FOREIGN = re.compile(
    r"""("(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+')|([^\s()\[\]{},='"]{1,128}+)(\s*+[(=])|\b(true|false|null)\b|(["'])""",
    re.DOTALL,
)
CONSTANTS = {"true": "True", "false": "False", "null": "None"}

Call = tuple[str, Any]  # a name, and the arguments as an object or as its text, if they are one


def calls_in(mark: str, text: str, is_closed: bool, offered: Mapping[str, Any]) -> list[Call]:
    """The calls that stand behind a mark; none unless all are of functions that are offered."""
    if mark == MISTRAL:
        calls = named(text)
    elif mark == PYTHONIC:
        calls = in_python(text)
    else:
        call = marked_up(text, offered) if is_closed or text.rstrip().endswith(QWEN_END) else None
        calls = [call] if call is not None else []
    return calls if all(name in offered for name, _ in calls) else []


def end_of(mark: str, text: str) -> tuple[int, int]:
    """Where the inside of a mark ends, behind which the text begins, and where what follows begins."""
    if close := MARKS[mark]:
        at = text.find(close)
        return (at, at + len(close)) if at >= 0 else (len(text), len(text))
    found = MISTRAL_HEAD.match(text)
    try:
        _, end = json.JSONDecoder().raw_decode(text, found.end() if found else 0)
    except (ValueError, RecursionError):
        end = len(text)
    return end, end


def named(text: str) -> list[Call]:
    """A call as Mistral writes it."""
    found = MISTRAL_HEAD.match(text)
    return [(found[1], text[found.end() :])] if found is not None and found[1] else []


def in_python(text: str) -> list[Call]:
    """A list of calls whose arguments have names and are literals."""
    names: list[str] = []

    def stand_in(found: re.Match[str]) -> str:
        string, name, behind, constant, quote = found.groups()
        if quote:
            raise ValueError("a string that does not end")
        if name is None:
            return string or CONSTANTS[constant]
        names.append(name)
        return f"_{len(names) - 1}{behind}"

    if len(text) > MOST_PYTHON or not text.strip().startswith("["):
        return []
    try:
        body = ast.parse(FOREIGN.sub(stand_in, text.strip()), mode="eval").body
        return [call_of(entry, names) for entry in body.elts] if isinstance(body, ast.List) else []
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return []


def call_of(entry: ast.expr, names: list[str]) -> Call:
    """Raises ValueError for what is no such call."""
    if not isinstance(entry, ast.Call) or not isinstance(entry.func, ast.Name) or entry.args:
        raise ValueError(entry)
    arguments = {names[int((each.arg or "")[1:])]: ast.literal_eval(each.value) for each in entry.keywords}
    return names[int(entry.func.id[1:])], arguments


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
        return json.loads(value, parse_constant=no_number, parse_float=number)
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


def number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else no_number(text)  # what is too large would become Infinity
