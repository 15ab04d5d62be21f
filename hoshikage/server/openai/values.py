"""Checks of what only a server is sent: messages, prompts, tools, formats, durations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast

from hoshikage.checks import Check, Flag, Number, Shape, Text, Whole, nearest, shown
from hoshikage.engine.gaps import LENGTH, MOST_PARTS, PART, gap_of, template_parts
from hoshikage.engine.prompt import checked_list, checked_messages
from hoshikage.errors import ParameterError
from hoshikage.server.fields import N_UNKNOWN, Field

Prompt: TypeAlias = str | list[int]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
DURATION = re.compile(r"(-?\d+(?:\.\d+)?)\s*(ms|s|m|h|)")
TOOL_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
TOKEN = Whole(0, 2**31 - 1)
OBJECTS: Shape = {"type": "array", "items": {"type": "object"}}
IDS: Shape = {"type": "array", "items": TOKEN.shape}
FLAG = Flag()
EFFORT = Text(64)  # how long to think: templates have words of their own for it
RANGE: Shape = {"type": "array", "items": Whole(0, LENGTH.most).shape, "minItems": 2, "maxItems": 2}
GAP: Shape = {"anyOf": [LENGTH.shape, RANGE]}


@dataclass(frozen=True, slots=True)
class Unset(Check[Any]):
    """A value of another check, or -1, which leaves the choice to the server."""

    inner: Check[Any]

    @property
    def shape(self) -> Shape:
        return {"anyOf": [{"const": -1}, self.inner.shape]}

    def check(self, name: str, value: object) -> Any:
        if type(value) is int and value == -1:
            return None
        return self.inner.check(name, value)


@dataclass(frozen=True, slots=True)
class Messages(Check[list[dict[str, Any]]]):
    """A conversation: at least one message, each with a known role and text."""

    most: int

    shape: ClassVar[Shape] = OBJECTS | {"minItems": 1}

    def check(self, name: str, value: object) -> list[dict[str, Any]]:
        messages = checked_list(value)
        if len(messages) > self.most:
            raise ParameterError(name, f"{len(messages)} messages are too many", f"send at most {self.most}")
        asks = last_of_user(messages)
        return checked_messages([as_text_alone(message, strict=i == asks) for i, message in enumerate(messages)])


class Conversation(Field):
    """The messages of a conversation."""

    def warnings(self, value: Any) -> Iterator[str]:
        contents = [message["content"] for message in value if isinstance(message.get("content"), list)]
        kinds = {str(part.get("type")) for parts in contents for part in parts if isinstance(part, Mapping)}
        return passed_over(self.name, kinds - {"text", "refusal"})


def passed_over(name: str, kinds: Iterable[str]) -> Iterator[str]:
    """Warnings of what stands in a conversation and is no text."""
    for kind in sorted(kinds):
        yield f"{name}: there is {shown(kind)} in it, which is passed over: models here read text"


def last_of_user(messages: Sequence[Any]) -> int:
    """The message that is asked now. A picture in it is refused; one in an earlier turn must not end a conversation."""
    users = (i for i, message in enumerate(messages) if isinstance(message, Mapping) and message.get("role") == "user")
    return max(users, default=-1)


def as_text_alone(message: Any, *, strict: bool) -> Any:
    """A message whose refusals, which a client sends back as they were answered, are text like any other."""
    parts = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(parts, list):
        return message
    return {**message, "content": [text_of_part(part, strict=strict) for part in parts]}


def text_of_part(part: Any, *, strict: bool) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    return part if strict or kind in (None, "text") else {"type": "text", "text": left_out(kind)}


@dataclass(frozen=True, slots=True)
class Prompts(Check[list[Prompt]]):
    """A text, a list of texts, a list of token ids, or a list of such lists."""

    most: int

    @property
    def shape(self) -> Shape:
        several = {"type": "array", "minItems": 1, "maxItems": self.most, "items": {"anyOf": [{"type": "string"}, IDS]}}
        return {"anyOf": [{"type": "string"}, IDS | {"minItems": 1}, several]}

    def check(self, name: str, value: object) -> list[Prompt]:
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not value:
            cause = "it is empty" if value == [] else f"{shown(value)} is neither text nor a list"
            raise ParameterError(name, cause, "send a string, a list of strings, or token ids")
        if not any(isinstance(item, (str, list)) for item in value):
            return [ids_of(name, value)]
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} prompts are too many", f"send at most {self.most}")
        return [item if isinstance(item, str) else ids_of(name, item) for item in value]


def ids_of(name: str, value: object) -> list[int]:
    """A list of token ids; whether the model has them is for the model to say."""
    if not isinstance(value, list):
        raise ParameterError(name, f"{shown(value)} is neither text nor a list of token ids", "send one of them")
    return [TOKEN.check(name, item) for item in value]


@dataclass(frozen=True, slots=True)
class TextOrIds(Check[Prompt]):
    """A text, or a list of token ids."""

    most: int

    shape: ClassVar[Shape] = {"anyOf": [{"type": "string"}, IDS]}

    def check(self, name: str, value: object) -> Prompt:
        return Text(self.most).check(name, value) if isinstance(value, str) else ids_of(name, value)


class Ids(Check[list[int]]):
    """A list of token ids."""

    shape: ClassVar[Shape] = IDS

    def check(self, name: str, value: object) -> list[int]:
        return ids_of(name, value)


@dataclass(frozen=True, slots=True)
class Duration(Check[float]):
    """Seconds as a number, or text such as `5m`; a negative one stands for ever."""

    least: float = -math.inf

    shape: ClassVar[Shape] = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{DURATION.pattern}$"}]}

    def check(self, name: str, value: object) -> float:
        if isinstance(value, str):
            matched = DURATION.fullmatch(value.strip())
            if matched is None:
                raise ParameterError(name, f"{shown(value)} is no time", 'write seconds, or for example "90s" or "5m"')
            value = float(matched[1]) * UNITS[matched[2]]
        seconds = Number(-1e9, 1e9).check(name, value)
        if seconds < self.least:
            raise ParameterError(name, f"{seconds:g} s is too short", f"use at least {self.least:g}")
        return seconds


class Length(Check[int | list[int]]):
    """How many tokens a gap has: a number, or the least and the most."""

    shape: ClassVar[Shape] = GAP

    def check(self, name: str, value: object) -> int | list[int]:
        gap = gap_of(name, value)
        return gap.least if gap.is_fixed else [gap.least, gap.most]


class Template(Check[list[Any]]):
    """Text with gaps, a list of texts and of lengths: ["Dear ", 8, ", thank you for ", [2, 32], "."]."""

    shape: ClassVar[Shape] = {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_PARTS,
        "items": {"anyOf": [PART.shape, GAP]},
    }

    def check(self, name: str, value: object) -> list[Any]:
        template_parts(name, value)
        return list(cast(list[Any], value))


class StreamOptions(Check[bool]):
    """Whether a stream ends with its usage."""

    shape: ClassVar[Shape] = {"type": "object", "properties": {"include_usage": {"type": "boolean"}}}

    def check(self, name: str, value: object) -> bool:
        options = table_of(name, value, ("include_usage", "include_obfuscation"))
        return FLAG.check(f"{name}.include_usage", options.get("include_usage") or False)


@dataclass(frozen=True, slots=True)
class Tools(Check[list[dict[str, Any]]]):
    """Functions that a model may call."""

    most: int

    shape: ClassVar[Shape] = OBJECTS

    def check(self, name: str, value: object) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise ParameterError(name, f"{shown(value)} is not a list", "send a list of tools")
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} tools are too many", f"send at most {self.most}")
        read = (self._tool(f"{name}[{i}]", tool) for i, tool in enumerate(value))
        tools = [tool for tool in read if tool is not None]
        names = [tool["function"]["name"] for tool in tools]
        if len(set(names)) < len(names):
            raise ParameterError(name, "two tools have one name", "give each its own")
        return tools

    def _tool(self, name: str, value: object) -> dict[str, Any] | None:
        """One tool; None for one that is passed over."""
        tool = table_of(name, value, ("type", "function"))
        if tool.get("type") != "function":
            raise ParameterError(f"{name}.type", f"{shown(tool.get('type'))} is unknown", 'use "function"')
        function = table_of(f"{name}.function", tool.get("function"), ())
        called = function.get("name")
        if not isinstance(called, str) or not TOOL_NAME.fullmatch(called):
            remedy = "use 1 to 128 letters, digits and _ - . :"
            raise ParameterError(f"{name}.function.name", f"{shown(called)} cannot name a function", remedy)
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise ParameterError(f"{name}.function.parameters", f"{shown(parameters)} is no schema", "send an object")
        return {"type": "function", "function": dict(function)}


class ToolChoice(Check[str]):
    """`auto`, `none`, `required`, or the name of the function to call behind `=`."""

    shape: ClassVar[Shape] = {"anyOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]}

    def check(self, name: str, value: object) -> str:
        if isinstance(value, str) and value in ("auto", "none", "required"):
            return value
        if isinstance(value, str):
            hint = nearest(value, ("auto", "none", "required"))
            raise ParameterError(name, f"{shown(value)} is unknown{hint}", "use auto, none, required or a function")
        function = table_of(f"{name}.function", table_of(name, value, ("type", "function")).get("function"), ("name",))
        return "=" + Text(128).check(f"{name}.function.name", function.get("name"))


class ResponseFormat(Check[dict[str, Any]]):
    """text, json_object, or json_schema with its schema; a schema beside its type is llama-server's way to say it."""

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> dict[str, Any]:
        wanted = table_of(name, value, ())
        kind = wanted.get("type")
        if kind == "text" or (kind == "json_object" and wanted.get("schema") is None):
            return {"type": kind}
        if kind in ("json_object", "json_schema") and wanted.get("schema") is not None:
            return {"type": "json_schema", "schema": schema_of(f"{name}.schema", wanted["schema"])}
        if kind != "json_schema":
            hint = nearest(str(kind), ("text", "json_object", "json_schema"))
            remedy = "use text, json_object or json_schema"
            raise ParameterError(f"{name}.type", f"{shown(kind)} is unknown{hint}", remedy)
        about = table_of(f"{name}.json_schema", wanted.get("json_schema"), ())
        return {"type": kind, "schema": schema_of(f"{name}.json_schema.schema", about.get("schema"))}


def schema_of(name: str, value: object) -> dict[str, Any] | bool:
    if not isinstance(value, (dict, bool)):
        raise ParameterError(name, f"{shown(value)} is no schema", "send an object")
    return value


@dataclass(frozen=True, slots=True)
class Mapped(Check[dict[str, Any]]):
    """Any object of JSON, within a size that a template can be given."""

    most: int

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> dict[str, Any]:
        table = table_of(name, value, ())
        if len(table) > self.most:
            raise ParameterError(name, f"{len(table)} entries are too many", f"send at most {self.most}")
        return dict(table)


def left_out(kind: object) -> str:
    """What stands where a part of a conversation was that is no text."""
    return f"[{shown(kind)[1:-1] if isinstance(kind, str) else 'something'}: left out, for the model reads text alone]"


def table_of(name: str, value: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    """An object of JSON; where `known` names its keys, none that is nearly one of them. Others mean nothing here."""
    if not isinstance(value, Mapping):
        raise ParameterError(name, f"{shown(value)} is not an object", "send an object")
    unknown = (key for key in value if key not in known) if known else ()
    for i, key in enumerate(unknown):
        if i == N_UNKNOWN:  # looking for what each may have been takes time, as with those of the body itself
            raise ParameterError(name, f"more than {N_UNKNOWN} of its keys are unknown", f"use {known}")
        if hint := nearest(key, known):
            raise ParameterError(f"{name}.{key}", f"there is no such key{hint}", f"use {known}")
    return value
