"""Checks of what Anthropic's clients send; what comes out has the shapes of OpenAI's, which all routes work with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hoshikage.checks import Check, Shape, Text, as_text, closest, nearest, shown
from hoshikage.errors import ParameterError
from hoshikage.server.fields import NEAR, Field, called
from hoshikage.server.openai.values import ResponseFormat, Tools, last_of_user, left_out, passed_over, table_of

ROLES = ("user", "assistant", "system")
READ = ("text", "tool_use", "tool_result")
THOUGHTS = ("thinking", "redacted_thinking")  # of earlier turns
THINKING = ("enabled", "adaptive", "disabled")
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
TEXT = Text(2**24)
NAME = Text(256)


@dataclass(frozen=True, slots=True)
class Turns(Check[list[dict[str, Any]]]):
    """A conversation of turns, each a text or a list of blocks."""

    shape: ClassVar[Shape] = {"type": "array", "items": {"type": "object"}}

    most: int

    def check(self, name: str, value: object) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value:
            raise ParameterError(name, f"{shown(value)} is no conversation", "send at least one {role, content}")
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} messages are too many", f"send at most {self.most}")
        asks = last_of_user(value)
        return [turn for i, item in enumerate(value) for turn in turns_of(f"{name}[{i}]", item, is_now=i == asks)]


class Conversation(Field):
    """The turns of a conversation."""

    def warnings(self, value: Any) -> Iterator[str]:
        blocks = [block for turn in value for block in raw_blocks(turn.get("content"))]
        return passed_over(self.name, {str(block.get("type")) for block in blocks} - {*READ, *THOUGHTS})


def raw_blocks(content: object) -> Iterator[Mapping[str, Any]]:
    """The blocks of a turn, and those in the results of tools among them."""
    for block in raw_parts(content):
        yield block
        if block.get("type") == "tool_result":
            yield from raw_parts(block.get("content"))


def raw_parts(content: object) -> Sequence[Any]:
    """What is listed in a content; in a text nothing."""
    return content if isinstance(content, list) else ()


def turns_of(name: str, value: object, *, is_now: bool) -> list[dict[str, Any]]:
    """One turn; the results of tools in it become turns of their own."""
    turn = table_of(name, value, ())
    role = turn.get("role")
    if role not in ROLES:
        raise ParameterError(f"{name}.role", f"{shown(role)} is unknown{nearest(str(role), ROLES)}", f"use {ROLES}")
    # A picture in an earlier turn must not end the conversation; who sends one now is told.
    blocks = blocks_of(f"{name}.content", turn.get("content"), strict=is_now)
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    thoughts = [block["thought"] for block in blocks if block["type"] == "thinking" and block["thought"]]
    calls = [block["call"] for block in blocks if block["type"] == "tool_use"]
    turns = [block["turn"] for block in blocks if block["type"] == "tool_result"]
    if calls and role != "assistant":
        raise ParameterError(f"{name}.content", "only the assistant uses tools", "send tool_result")
    if turns and role != "user":
        raise ParameterError(f"{name}.content", "only the user gives the results of tools", "send tool_use")
    if texts or calls or not turns:
        said = {"role": role, "content": "\n".join(texts), **({"tool_calls": calls} if calls else {})}
        turns.append({**said, **({"reasoning_content": "\n".join(thoughts)} if thoughts else {})})
    return turns


def blocks_of(name: str, content: object, *, strict: bool = True) -> list[dict[str, Any]]:
    """The blocks of a turn; a text is one. Those that no model here can read are refused, or named in their place."""
    if isinstance(content, str):
        return [{"type": "text", "text": TEXT.check(name, content)}]
    if not isinstance(content, list):
        raise ParameterError(name, f"{shown(content)} is neither text nor a list of blocks", "send one of them")
    return [block_of(f"{name}[{i}]", block, strict=strict) for i, block in enumerate(content)]


def block_of(name: str, value: object, *, strict: bool) -> dict[str, Any]:
    block = table_of(name, value, ())
    match block.get("type"):
        case "text":
            return {"type": "text", "text": TEXT.check(f"{name}.text", block.get("text"))}
        case "tool_use":
            return {"type": "tool_use", "call": call_of(name, block)}
        case "tool_result":
            return {"type": "tool_result", "turn": result_of(name, block)}
        case "thinking":
            return {"type": "thinking", "thought": TEXT.check(f"{name}.thinking", block.get("thinking") or "")}
        case "redacted_thinking":  # nobody here can read it
            return {"type": "thinking", "thought": ""}
        case str(kind) if not strict and not closest(kind, READ, NEAR):
            return {"type": "text", "text": left_out(kind)}
    cause = f"blocks of the type {shown(block.get('type'))} cannot be read: models here read and write text"
    raise ParameterError(f"{name}.type", cause, "use text, tool_use and tool_result")


def call_of(name: str, block: Mapping[str, Any]) -> dict[str, Any]:
    function = {
        "name": NAME.check(f"{name}.name", block.get("name")),
        "arguments": json.dumps(table_of(f"{name}.input", block.get("input"), ()), ensure_ascii=False),
    }
    return {"id": NAME.check(f"{name}.id", block.get("id")), "type": "function", "function": function}


def result_of(name: str, block: Mapping[str, Any]) -> dict[str, Any]:
    content = block.get("content")
    if any(isinstance(part, Mapping) and part.get("type") == "tool_result" for part in raw_parts(content)):
        raise ParameterError(f"{name}.content", "the result of a tool holds that of another", "send it beside this one")
    blocks = blocks_of(f"{name}.content", "" if content is None else content, strict=False)
    text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    used = NAME.check(f"{name}.tool_use_id", block.get("tool_use_id"))
    return {"role": "tool", "tool_call_id": used, "content": text}


class System(Check[str]):
    """A text, or a list of blocks of text."""

    shape: ClassVar[Shape] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}

    def check(self, name: str, value: object) -> str:
        blocks = blocks_of(name, value)
        if any(block["type"] != "text" for block in blocks):
            raise ParameterError(name, "a block is no text", "send blocks of the type text")
        return "\n".join(block["text"] for block in blocks)


class Functions(Tools):
    """Tools with a schema of their input."""

    shape: ClassVar[Shape] = {"type": "array", "items": {"type": "object"}}

    def _tool(self, name: str, value: object) -> dict[str, Any] | None:
        tool = table_of(name, value, ())
        if tool.get("type") not in (None, "custom"):
            cause = f"tools of the type {shown(tool.get('type'))} run at Anthropic's"
            raise ParameterError(f"{name}.type", cause, "send tools of your own: {name, description, input_schema}")
        function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
        if tool.get("description") is not None:
            function["description"] = as_text(f"{name}.description", tool["description"])
        with called(**{f"{name}.function.name": f"{name}.name", f"{name}.function.parameters": f"{name}.input_schema"}):
            return super()._tool(name, {"type": "function", "function": function})


class WhichTool(Check[str]):
    """Which tool is to be used, in the words of OpenAI's `tool_choice` (a name behind `=`)."""

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> str:
        choice = table_of(name, value, ("type", "name", "disable_parallel_tool_use"))
        kind = choice.get("type")
        if kind == "tool":
            return "=" + NAME.check(f"{name}.name", choice.get("name"))
        if not isinstance(kind, str) or kind not in CHOICES:
            hint = nearest(str(kind), [*CHOICES, "tool"])
            raise ParameterError(f"{name}.type", f"{shown(kind)} is unknown{hint}", "use auto, any, none or tool")
        return CHOICES[kind]


class Thinking(Check[str]):
    """Whether thoughts are wanted: `shown`, `hidden` or `disabled`."""

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> str:
        wanted = table_of(name, value, ("type", "budget_tokens", "display"))
        kind = wanted.get("type")
        if kind not in THINKING:
            remedy = f"use {', '.join(THINKING)}"
            raise ParameterError(f"{name}.type", f"{shown(kind)} is unknown{nearest(str(kind), THINKING)}", remedy)
        if kind == "disabled":
            return "disabled"
        return "hidden" if wanted.get("display") == "omitted" else "shown"


class OutputConfig(Check[dict[str, Any]]):
    """The form that an answer follows."""

    shape: ClassVar[Shape] = {"type": "object"}

    def check(self, name: str, value: object) -> dict[str, Any]:
        wanted = table_of(name, value, ("format", "effort"))
        if wanted.get("format") is None:
            return {"type": "text"}
        form = table_of(f"{name}.format", wanted["format"], ())
        about = {"name": "output", "schema": form.get("schema")}
        return ResponseFormat().check(f"{name}.format", {"type": form.get("type"), "json_schema": about})
