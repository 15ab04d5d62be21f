"""What an answer has to follow: `response_format`, and `tool_choice` where a call is demanded, as a grammar."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hoshikage import gbnf, jsonschema
from hoshikage.errors import ParameterError
from hoshikage.server.choosing import Chosen
from hoshikage.server.fields import Given
from hoshikage.server.openai.calls import CallReader, Reader
from hoshikage.server.openai.channels import Channels
from hoshikage.server.openai.thoughts import Reading, Thoughts

FREE = ("auto", "none")  # choices that make no grammar
NO_TOOLS = "tools has no effect: the model's chat template does not tell it of them"
NO_CALLS = "tools has no effect: the answer has a form to follow, and calls can have none"


@dataclass(frozen=True, slots=True)
class Constraint:
    """Options for the engine, and how the text is read."""

    options: dict[str, Any] = field(default_factory=dict)
    offered: Mapping[str, Any] = field(default_factory=dict)  # functions that it may call
    warnings: tuple[str, ...] = ()
    thinks: bool = False  # it may begin with a thought, which is told apart
    in_channels: bool = False

    def reading(self) -> Reading:
        """How one answer is read."""
        if self.in_channels:
            return Reading(Reader(), Channels(self.offered), apart=self.thinks)
        return Reading(CallReader(self.offered) if self.offered else Reader(), Thoughts() if self.thinks else None)


# Schemas are worked on one after the other: a dozen large ones must not take every thread that others wait for.
_thread = ThreadPoolExecutor(1, "schemas")
Result = TypeVar("Result")


async def apart(work: Callable[..., Result], *arguments: Any) -> Result:
    """Do this in the thread of schemas."""
    return await asyncio.get_running_loop().run_in_executor(_thread, work, *arguments)


async def of_chat(given: Given, chosen: Chosen) -> Constraint:
    """What a chat asks for. Schemas take their time, and not that of the loop."""
    if given.values.keys() & {"response_format", "json_schema"} or given.get("tool_choice", "auto") not in FREE:
        return await apart(read, given, chosen)
    return read(given, chosen)


def read(given: Given, chosen: Chosen) -> Constraint:
    """Raises ParameterError for what contradicts itself."""
    tools, choice = given.get("tools") or [], given.get("tool_choice", "auto")
    wanted = wanted_form(given)
    offered = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    names = list(offered)
    check_choice(choice, names)
    forced = names if choice == "required" else [choice[1:]] if choice.startswith("=") else []
    if given.options.get("grammar") and (forced or wanted["type"] != "text"):
        raise ParameterError("grammar", "the answer has another form to follow already", "send one of them")
    if forced:
        schema = call_schema([tool["function"] for tool in tools if tool["function"]["name"] in forced])
        return Constraint({"grammar": grammar("tools", schema)}, offered)
    usable = offered if choice != "none" else {}
    known = usable if chosen.facts.tells_of_tools else {}
    warnings = (NO_TOOLS,) if usable and not known else ()
    if wanted["type"] != "text":
        form = grammar("response_format", wanted.get("schema", {"type": "object"}))
        return of_form(form, [tool["function"] for tool in tools] if known else [], warnings)
    return Constraint(
        offered=usable,
        warnings=warnings,
        thinks=given.get("reasoning_format") != "none",
        in_channels=chosen.facts.in_channels,
    )


def of_form(form: str, functions: list[dict[str, Any]], warnings: tuple[str, ...]) -> Constraint:
    """An answer in this form, or a call of a function: a model may have to look something up before it answers."""
    if not functions:
        return Constraint({"grammar": form}, warnings=warnings)
    try:
        calls = grammar("tools", call_schema(functions))
    except ParameterError as error:  # clients offer all they have, and the answer alone has to have a form
        return Constraint({"grammar": form}, warnings=(f"{NO_CALLS}: {error.cause}",))
    offered = {function["name"]: function.get("parameters") for function in functions}
    return Constraint({"grammar": gbnf.either(form, calls)}, offered)


def wanted_form(given: Given) -> dict[str, Any]:
    """`response_format`, or what llama-server's clients say by `json_schema`."""
    wanted: dict[str, Any] = given.get("response_format", {"type": "text"})
    schema = given.get("json_schema")
    if schema is None:
        return wanted
    if wanted["type"] != "text" and wanted != {"type": "json_schema", "schema": schema}:
        raise ParameterError("json_schema", "response_format asks for another form", "send one of them")
    return {"type": "json_schema", "schema": schema}


def check_choice(choice: str, names: list[str]) -> None:
    if choice == "required" and not names:
        raise ParameterError("tool_choice", "there are no tools to choose from", "send tools as well")
    if choice.startswith("=") and choice[1:] not in names:
        raise ParameterError("tool_choice", f"there is no tool {choice[1:]!r}", f"use one of {', '.join(names)}")


def call_schema(functions: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of a call of one of these functions, each of which has `$defs` of its own."""
    parameters = {
        function["name"]: function.get("parameters") or {"type": "object", "properties": {}} for function in functions
    }
    places = {name: f"#/$defs/{name}" for name in parameters}  # no name of a function needs to be escaped
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"type": "object", "$ref": place}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, place in places.items()
    ]
    own = {name: jsonschema.moved(parameters[name], place) for name, place in places.items()}
    return {"$defs": own, "anyOf": calls}


def grammar(name: str, schema: Any) -> str:
    """The grammar of a schema; errors name the field that the schema came in."""
    try:
        return jsonschema.grammar_of(schema)
    except ParameterError as error:
        raise ParameterError(f"{name}.{error.name}", error.cause, error.remedy) from None
