"""`POST /v1/responses`: the chat route's work, told as a response with items, or as its stream of events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from blacksheep import Response

from hoshikage.engine.request import KINDS, options_of
from hoshikage.server import sse
from hoshikage.server.choosing import Chosen
from hoshikage.server.fields import Given, called, given_in, warned
from hoshikage.server.openai import chat
from hoshikage.server.openai.asking import ways_of
from hoshikage.server.openai.form import about_work
from hoshikage.server.openai.thoughts import Reading
from hoshikage.server.problem import Problem
from hoshikage.server.reply import Form, reply
from hoshikage.server.responses.item import MESSAGE, REASONING, Item
from hoshikage.server.responses.tables import RESPONSES
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.wire import NAMED, named
from hoshikage.settings import Settings, replaced
from hoshikage.worker.ask import Answered, Said


async def answer(services: Services, exchange: Exchange) -> Response:
    """Answer one turn of a conversation."""
    given = await given_in(exchange, RESPONSES)
    chosen = await services.choices.choose(given["model"])
    ways = ways_of(given, chosen, services.settings)
    with called(response_format="text"):
        job, limits = await chat.asked(exchange, as_chat(given), chosen, ways.watch)
    about = about_request(given, chosen, services.settings)
    warnings = [*given.warnings, *ways.warnings, *limits.warnings]
    form = ResponseForm(about, limits.reading(), warnings, groups_of(given))
    wire = replace(NAMED, done=sse.DONE, alive=form.alive, failed=form.failed)
    return await reply(services, exchange, job, form, stream=given.get("stream", False), wire=wire)


def as_chat(given: Given) -> Given:
    """What is asked, in the shapes that the routes share."""
    told = [{"role": "system", "content": given["instructions"]}] if "instructions" in given.values else []
    form: dict[str, Any] = {"response_format": given["text"]} if "text" in given.values else {}
    tools = [{"type": tool["type"], "function": tool["function"]} for tool in given.get("tools") or ()]
    form |= {"tools": tools} if "tools" in given.values else {}
    form |= {"reasoning_effort": given["reasoning"]} if given.get("reasoning") else {}
    return given.having(messages=[*told, *given["input"]], **form)


def groups_of(given: Given) -> dict[str, str]:
    """The groups that functions belong to, by the names that the model knows them by."""
    return {tool["function"]["name"]: tool["namespace"] for tool in given.get("tools") or () if tool["namespace"]}


def about_request(given: Given, chosen: Chosen, settings: Settings) -> dict[str, Any]:
    """What every response repeats of its request."""

    own = replaced(settings, chosen.model.settings)

    def used(name: str, otherwise: float) -> Any:
        defaults = {option.name: option.default for option in options_of(KINDS[chosen.facts.kind])}
        usual = getattr(own, name, None)
        return given.options.get(name, usual if usual is not None else defaults.get(name, otherwise))

    choice = given.get("tool_choice", "auto")
    return {
        "model": chosen.model.label,
        "instructions": given.get("instructions"),
        "tools": [flat(tool["function"]) for tool in given.get("tools") or ()],
        "tool_choice": {"type": "function", "name": choice[1:]} if choice.startswith("=") else choice,
        "text": {"format": told_format(given.get("text", {"type": "text"}))},
        "temperature": used("temperature", 1.0),
        "top_p": used("top_p", 1.0),
        "presence_penalty": used("presence_penalty", 0.0),
        "frequency_penalty": used("frequency_penalty", 0.0),
        "max_output_tokens": given.options.get("max_tokens"),
        "metadata": given.get("metadata") or {},
        "previous_response_id": None,
        "truncation": "disabled",
        "parallel_tool_calls": True,
        "top_logprobs": 0,
        "reasoning": {"effort": given.get("reasoning"), "summary": None},
        "max_tool_calls": None,
        "store": False,
        "background": False,
        "service_tier": "default",
        "safety_identifier": None,
        "prompt_cache_key": None,
    }


def flat(function: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as this route tells it."""
    known = {name: function.get(name) for name in ("name", "description", "parameters")}
    return {"type": "function", **known, "strict": bool(function.get("strict", False))}


def told_format(form: Mapping[str, Any]) -> dict[str, Any]:
    """The form of the text as it is told back."""
    if form["type"] != "json_schema":
        return dict(form)
    return {**form, "name": "output", "description": None, "strict": True}


class ResponseForm(Form):
    """Writes an answer as a response: what was thought, a message, and calls of functions."""

    def __init__(
        self, about: Mapping[str, Any], reading: Reading, warnings: Sequence[str], groups: Mapping[str, str]
    ) -> None:
        self._about = about
        self._groups = groups
        self._reading = reading
        self._warnings = list(warnings)
        self._id = f"resp_{secrets.token_hex(16)}"
        self._created = int(time.time())
        self._items: list[Item] = []  # thoughts and messages, one after the other
        self._n_items = 0  # that are complete
        self._open: Item | None = None
        self._n_events = 0
        self._end: Answered | None = None

    def opening(self) -> Iterator[dict[str, Any]]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))

    def said(self, event: Said) -> Iterator[dict[str, Any]]:
        yield from self._grow(event)

    def answered(self, event: Answered) -> Iterator[dict[str, Any]]:
        self._end = event
        self._warnings += event.warnings
        yield from self._grow(event)
        if not self._items and not self._reading.calls:
            yield from self._begin(MESSAGE)
        yield from self._finish()
        for i, call in enumerate(self._calls(), self._n_items):
            yield from self._tell_call(i, call)

    def closing(self) -> Iterator[dict[str, Any]]:
        status = self._status()
        yield self._event(f"response.{status}", response=self._response(status))

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        return self._response(self._status())

    def alive(self) -> bytes:
        """An event, not a comment: Codex gives a stream up that has had none for some minutes."""
        return named(self._event("keepalive"))

    def failed(self, problem: Problem) -> dict[str, Any]:
        """The last event of a stream that broke off."""
        error = problem.body["error"]
        response = self._response("failed") | {"error": {"code": error["code"], "message": error["message"]}}
        return self._event("response.failed", response=response)

    # -- events of a stream

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        self._n_events += 1
        return {"type": kind, "sequence_number": self._n_events - 1, **more}

    def _part(self, item: Item, kind: str, **more: Any) -> dict[str, Any]:
        where = {"item_id": item.id, "output_index": self._n_items, "content_index": 0}
        return self._event(f"response.{kind}", **where, **more)

    def _grow(self, event: Said | Answered) -> Iterator[dict[str, Any]]:
        for is_thought, text in self._reading.take(event):
            yield from self._begin(REASONING if is_thought else MESSAGE)
            item = self._items[-1]
            item.texts.append(text)
            yield self._part(item, f"{item.type_of_part}.delta", delta=text, **item.beside)

    def _begin(self, kind: str) -> Iterator[dict[str, Any]]:
        """An item of this kind, unless one is open."""
        if self._open is not None and self._open.kind == kind:
            return
        item = Item(kind)
        self._items.append(item)
        yield from self._finish()
        self._open = item
        added = item.told("in_progress") | {"content": []}
        yield self._event("response.output_item.added", output_index=self._n_items, item=added)
        yield self._part(item, "content_part.added", part=item.part(""))

    def _finish(self) -> Iterator[dict[str, Any]]:
        item, self._open = self._open, None
        if item is None:
            return
        yield self._part(item, f"{item.type_of_part}.done", text=item.text, **item.beside)
        yield self._part(item, "content_part.done", part=item.part(item.text))
        done = item.told(self._status_of(item))
        yield self._event("response.output_item.done", output_index=self._n_items, item=done)
        self._n_items += 1

    def _tell_call(self, i: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        begun = {**item, "arguments": "", "status": "in_progress"}
        where = {"item_id": item["id"], "output_index": i}
        yield self._event("response.output_item.added", output_index=i, item=begun)
        yield self._event("response.function_call_arguments.delta", **where, delta=item["arguments"])
        yield self._event("response.function_call_arguments.done", **where, arguments=item["arguments"])
        yield self._event("response.output_item.done", output_index=i, item=item)

    # -- the response

    def _status(self) -> str:
        return "completed" if self._end is not None and self._end.stop_reason == "stop" else "incomplete"

    def _status_of(self, item: Item) -> str:
        """Of an item that will not grow: it is complete once there is something behind it."""
        return self._status() if item is self._items[-1] else "completed"

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": "fc_" + call["id"].removeprefix("call_"),
                "type": "function_call",
                "call_id": call["id"],
                **self._named(call["function"]["name"]),
                "arguments": call["function"]["arguments"],
                "status": "completed",
            }
            for call in self._reading.calls
        ]

    def _named(self, name: str) -> dict[str, str]:
        """A function as its client knows it: Codex calls none whose group is only in its name."""
        group = self._groups.get(name)
        return {"name": name} if group is None else {"namespace": group, "name": name.removeprefix(f"{group}__")}

    def _response(self, status: str) -> dict[str, Any]:
        over = self._end is not None
        said = [item.told(self._status_of(item)) for item in self._items]
        output = [*said, *self._calls()] if over else []
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "incomplete_details": reason,
            "error": None,
            **self._about,
            "output": output,
            "usage": usage_of(self._end) if self._end is not None else None,
            **({"hoshikage": about_work(self._end)} if self._end is not None else {}),
            **warned(self._warnings),
        }


def usage_of(end: Answered) -> dict[str, Any]:
    """What was read and written."""
    n_prompt, n_tokens = int(end.counts["n_prompt"]), int(end.counts["n_tokens"])
    return {
        "input_tokens": n_prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": n_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": n_prompt + n_tokens,
    }
