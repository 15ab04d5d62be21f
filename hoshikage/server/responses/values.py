"""Checks of what `/v1/responses` is sent; what comes out has the shapes of the chat route."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hoshikage.checks import Check, Shape, Text, closest, nearest, shown
from hoshikage.engine.prompt import ROLES
from hoshikage.errors import ParameterError
from hoshikage.server.fields import NEAR, Field, called
from hoshikage.server.openai.values import (
    EFFORT,
    ResponseFormat,
    ToolChoice,
    Tools,
    last_of_user,
    left_out,
    passed_over,
    table_of,
)

TEXT = Text(2**24)
NAME = Text(256)
TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
READ = (*TEXT_PARTS, "refusal")
KINDS = ("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning")
THOUGHT = "thought"  # the role that one has until it is known whose it is
OUTPUTS = ("function_call_output", "custom_tool_call_output")


@dataclass(frozen=True, slots=True)
class Items(Check[list[dict[str, Any]]]):
    """A text, or a list of items: messages, calls of functions and what they gave."""

    shape: ClassVar[Shape] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}

    most: int

    def check(self, name: str, value: object) -> list[dict[str, Any]]:
        if isinstance(value, str):
            return [{"role": "user", "content": TEXT.check(name, value)}]
        if not isinstance(value, list) or not value:
            raise ParameterError(name, f"{shown(value)} is neither text nor a list of items", "send one of them")
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} items are too many", f"send at most {self.most}")
        messages: list[dict[str, Any]] = []
        asks = last_of_user(value)
        for i, item in enumerate(value):
            self._take(f"{name}[{i}]", table_of(f"{name}[{i}]", item, ()), messages, is_now=i == asks)
        messages = with_thoughts(messages)
        if not messages:
            raise ParameterError(name, "there is no message in it", "send at least one")
        return messages

    def _take(self, name: str, item: Mapping[str, Any], messages: list[dict[str, Any]], *, is_now: bool) -> None:
        kind = item.get("type", "message")
        if kind == "message":
            # A picture in an earlier turn must not end the conversation; who sends one now is told.
            messages.append(message_of(name, item, strict=is_now))
        elif kind in ("function_call", "custom_tool_call"):
            call = call_of(name, item)
            if not messages or messages[-1]["role"] != "assistant":  # what one turn says and calls is one message
                messages.append({"role": "assistant", "content": ""})
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind in OUTPUTS:
            content = text_of(f"{name}.output", item.get("output"), strict=False)
            used = NAME.check(f"{name}.call_id", item.get("call_id"))
            messages.append({"role": "tool", "tool_call_id": used, "content": content})
        elif kind == "reasoning":
            messages += [{"role": THOUGHT, "content": text} for text in [thought_of(name, item)] if text]
        elif kind == "item_reference":
            remedy = "send the items themselves; of the AI SDK: providerOptions: {openai: {store: false}}"
            raise ParameterError(f"{name}.type", "nothing is stored here that it could refer to", remedy)
        elif not isinstance(kind, str) or (kind not in KINDS and closest(kind, KINDS, NEAR)):
            cause = f"items of the type {shown(kind)} cannot be read{nearest(str(kind), KINDS)}"
            raise ParameterError(f"{name}.type", cause, f"use {', '.join(KINDS)}")


class Conversation(Field):
    """The items of a conversation."""

    def warnings(self, value: Any) -> Iterator[str]:
        items = value if isinstance(value, list) else []
        kinds = {str(item.get("type")) for item in items if item.get("type", "message") not in KINDS}
        parts = {str(part.get("type")) for item in items for part in parts_of(item) if part.get("type") not in READ}
        return passed_over(self.name, kinds | parts)


def parts_of(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a message, or of what a function gave."""
    kind = item.get("type", "message")
    content = item.get("output") if kind in OUTPUTS else item.get("content") if kind == "message" else None
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def thought_of(name: str, item: Mapping[str, Any]) -> str:
    """What an item of the kind `reasoning` tells: its text, or its summary; nothing where it is encrypted."""
    of = next((key for key in ("content", "summary") if item.get(key)), "content")
    return text_of(f"{name}.{of}", item.get(of) or "", strict=False)


def with_thoughts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each thought in the message of the assistant's that it led to; one that led to none is left out."""
    said: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for message in messages:
        if message["role"] == THOUGHT:
            thoughts.append(message["content"])
            continue
        told = thoughts and message["role"] == "assistant"
        said.append({**message, "reasoning_content": "\n".join(thoughts)} if told else message)
        thoughts = []
    return said


def message_of(name: str, item: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    role = item.get("role")
    if role not in ROLES or role == "tool":
        raise ParameterError(
            f"{name}.role", f"{shown(role)} is unknown{nearest(str(role), ROLES)}", f"use {ROLES[:-1]}"
        )
    return {"role": role, "content": text_of(f"{name}.content", item.get("content"), strict=strict)}


def text_of(name: str, content: object, *, strict: bool) -> str:
    """A text, or parts of which only those of text mean something here: others are refused, or named."""
    if isinstance(content, str):
        return TEXT.check(name, content)
    if not isinstance(content, list):
        raise ParameterError(name, f"{shown(content)} is neither text nor a list of parts", "send one of them")
    return "\n".join(part_of(f"{name}[{i}]", part, strict=strict) for i, part in enumerate(content))


def part_of(name: str, value: object, *, strict: bool) -> str:
    part = table_of(name, value, ())
    kind = part.get("type")
    if kind == "refusal":
        return TEXT.check(f"{name}.refusal", part.get("refusal"))
    if kind not in TEXT_PARTS and not strict:
        return left_out(kind)
    if kind not in TEXT_PARTS:
        cause = f"parts of the type {shown(kind)} cannot be read: models here read and write text"
        raise ParameterError(f"{name}.type", cause, "use input_text")
    return TEXT.check(f"{name}.text", part.get("text"))


def call_of(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    if item.get("type") == "custom_tool_call":  # what it was given is a text and no object
        arguments = json.dumps({"input": TEXT.check(f"{name}.input", item.get("input"))}, ensure_ascii=False)
    else:
        arguments = TEXT.check(f"{name}.arguments", item.get("arguments"))
    function = {"name": qualified(item, NAME.check(f"{name}.name", item.get("name"))), "arguments": arguments}
    return {"id": NAME.check(f"{name}.call_id", item.get("call_id")), "type": "function", "function": function}


def qualified(item: Mapping[str, Any], name: str) -> str:
    """The name by which a model knows a function: with that of the group it belongs to, such as an MCP server's."""
    group = item.get("namespace")
    return f"{group}__{name}" if isinstance(group, str) and group else name


def ungrouped(tools: object) -> object:
    """The tools with the members of each group in its place, each with the group's name beside its own."""
    if not isinstance(tools, list):
        return tools
    return [member for tool in tools for member in members_of(tool)]


def members_of(tool: Any) -> list[Any]:
    if not isinstance(tool, Mapping) or tool.get("type") != "namespace" or not isinstance(tool.get("tools"), list):
        return [tool]
    return [
        {**member, "namespace": tool.get("name")} if isinstance(member, Mapping) else member for member in tool["tools"]
    ]


class Functions(Tools):
    """Functions that a model may call, alone or in groups. Clients offer all they have, so others are passed over."""

    shape: ClassVar[Shape] = {"type": "array", "items": {"type": "object"}}

    def check(self, name: str, value: object) -> list[dict[str, Any]]:
        return Tools.check(self, name, ungrouped(value))

    def _tool(self, name: str, value: object) -> dict[str, Any] | None:
        tool = table_of(name, value, ())
        kind = tool.get("type")
        if is_other(kind):
            return None
        if kind != "function":
            hint = nearest(str(kind), ("function",))
            raise ParameterError(f"{name}.type", f"{shown(kind)} is unknown{hint}", "use function")
        known = {key: tool[key] for key in ("name", "description", "parameters", "strict") if tool.get(key) is not None}
        if isinstance(known.get("name"), str):
            known["name"] = qualified(tool, known["name"])
        with called(**{f"{name}.function": name}):
            checked = Tools._tool(self, name, {"type": "function", "function": known})
        group = tool.get("namespace")
        return checked and {**checked, "namespace": group if isinstance(group, str) else None}


def is_other(kind: object) -> bool:
    """Whether this is a kind of tool beside functions, such as those that run at OpenAI's."""
    return isinstance(kind, str) and kind != "function" and not nearest(kind, ("function",))


class Offered(Field):
    """The tools that a client has."""

    def warnings(self, value: Any) -> Iterator[str]:
        kinds = sorted({tool["type"] for tool in ungrouped(value) if is_other(tool["type"])})  # type: ignore[attr-defined]
        if kinds:
            yield f"{self.name} of the types {shown(kinds)} have no effect: a model here is told of functions alone"


class WhichTool(Check[str]):
    """`auto`, `none`, `required`, or the name of the function to call behind `=`."""

    shape: ClassVar[Shape] = {"anyOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]}

    def check(self, name: str, value: object) -> str:
        if isinstance(value, str):
            return ToolChoice().check(name, value)
        choice = table_of(name, value, ())
        if choice.get("type") != "function":
            raise ParameterError(f"{name}.type", f"{shown(choice.get('type'))} is unknown", "use function")
        return "=" + qualified(choice, Text(256).check(f"{name}.name", choice.get("name")))


class TextFormat(Check[dict[str, Any]]):
    """The form of the text: {format: {type: text, json_object or json_schema}}."""

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> dict[str, Any]:
        form = table_of(name, value, ("format", "verbosity")).get("format")
        if form is None:
            return {"type": "text"}
        about = table_of(f"{name}.format", form, ())
        return ResponseFormat().check(f"{name}.format", {"type": about.get("type"), "json_schema": about})


class Reasoning(Check[str | None]):
    """How long the model is to think."""

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> str | None:
        effort = table_of(name, value, ("effort", "summary", "generate_summary")).get("effort")
        return None if effort is None else EFFORT.check(f"{name}.effort", effort)


class Nothing(Check[None]):
    """What would need a memory."""

    shape: ClassVar[Shape] = {"enum": [False, None]}

    def check(self, name: str, value: object) -> None:
        if value not in (None, False):
            raise ParameterError(name, "nothing is stored here", "send the whole conversation as `input`")
