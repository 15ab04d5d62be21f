"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from blacksheep import Response

from hoshikage.errors import ContextOverflowError
from hoshikage.server import jsons
from hoshikage.server.anthropic.tables import COUNT, MESSAGES
from hoshikage.server.fields import Given, Table, called, given_in, warned
from hoshikage.server.openai import chat
from hoshikage.server.openai.asking import ways_of
from hoshikage.server.openai.form import about_work
from hoshikage.server.openai.thoughts import Reading
from hoshikage.server.problem import Problem
from hoshikage.server.reply import Form, json_response, reply
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.tokens import asked
from hoshikage.server.wire import NAMED, named
from hoshikage.worker.ask import Answered, Said

TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def as_anthropic(problem: Problem) -> dict[str, Any]:
    """An error as Anthropic's clients know it."""
    kind = TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "api_error")
    error = problem.body["error"]
    if error["code"] == "context_length_exceeded":  # Claude Code shortens a conversation when it reads these words
        sized = f"prompt is too long: {error['n_prompt_tokens']} tokens > {error['n_ctx']} maximum"
        error = {**error, "message": f"{sized}; {ContextOverflowError.default_remedy}"}
    return {"type": "error", "error": {**error, "type": kind}}


PING = named({"type": "ping"})
WIRE = replace(NAMED, alive=lambda: PING, failed=as_anthropic)


async def answer(services: Services, exchange: Exchange) -> Response:
    """Answer one turn of a conversation."""
    given = await read(exchange, MESSAGES)
    chosen = await services.choices.choose(given["model"])
    ways = ways_of(given, chosen, services.settings)
    with called(response_format="output_config"):
        job, limits = await chat.asked(exchange, given, chosen, ways.watch)
    warnings = [*given.warnings, *ways.warnings, *limits.warnings]
    shown = given.get("thinking") == "shown"
    form = MessageForm(chosen.model.label, limits.reading(), given.options.get("stop", ()), warnings, thinks=shown)
    return await reply(services, exchange, job, form, stream=given.get("stream", False), wire=WIRE)


async def count(services: Services, exchange: Exchange) -> Response:
    """How many tokens a conversation has."""
    given = await read(exchange, COUNT)
    value = await asked(services, exchange, given["model"], "template", chat.conversation(given))
    return json_response({"input_tokens": len(value["ids"]), **given.beside})


async def read(exchange: Exchange, table: Table) -> Given:
    """What is asked, in the shapes that the routes share."""
    given = await given_in(exchange, table)
    system = [{"role": "system", "content": given["system"]}] if "system" in given.values else []
    form = {"response_format": given["output_config"]} if "output_config" in given.values else {}
    if given.get("thinking") == "disabled":  # templates that read nothing of it pass it over
        form["chat_template_kwargs"] = {"enable_thinking": False, **given.get("chat_template_kwargs", {})}
    return given.having(messages=[*system, *given["messages"]], **form)


class MessageForm(Form):
    """Writes an answer as Anthropic does: blocks of text and of uses of tools, and before them of thinking.

    Who has not asked for thoughts is told of none.
    """

    def __init__(
        self, model: str, reading: Reading, stops: Sequence[str], warnings: Sequence[str], *, thinks: bool
    ) -> None:
        self._model = model
        self._reading = reading
        self._thinks = thinks
        self._stops = stops
        self._warnings = list(warnings)
        self._id = f"msg_{secrets.token_hex(12)}"
        self._texts: list[tuple[str, list[str]]] = []  # types and texts of the blocks that have one
        self._open = ""  # the type of the block that grows
        self._n_blocks = 0  # that are complete
        self._end: Answered | None = None

    def opening(self) -> Iterator[dict[str, Any]]:
        yield {"type": "message_start", "message": self._message([])}

    def said(self, event: Said) -> Iterator[dict[str, Any]]:
        yield from self._grow(event)

    def answered(self, event: Answered) -> Iterator[dict[str, Any]]:
        self._end = event
        self._warnings += event.warnings
        yield from self._grow(event)
        for call in self._reading.calls:
            block = tool_use(call)
            yield from self._start({**block, "input": {}})
            yield self._delta({"type": "input_json_delta", "partial_json": json.dumps(block["input"])})
        yield from self._close()

    def closing(self) -> Iterator[dict[str, Any]]:
        delta = {
            name: self._message([])[name] for name in ("stop_reason", "stop_sequence", "stop_details", "container")
        }
        yield {"type": "message_delta", "delta": delta, "usage": self._usage(), **self._beside()}
        yield {"type": "message_stop"}

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        blocks = [grown_block(kind, "".join(parts)) for kind, parts in self._texts]
        blocks += map(tool_use, self._reading.calls)
        return {**self._message(blocks or [grown_block("text", "")]), **self._beside()}

    # -- blocks of a stream

    def _grow(self, event: Said | Answered) -> Iterator[dict[str, Any]]:
        for is_thought, more in self._reading.take(event):
            if is_thought and not self._thinks:
                continue
            kind = "thinking" if is_thought else "text"
            if self._open != kind:
                self._texts.append((kind, []))
                yield from self._start(grown_block(kind, ""))
            self._texts[-1][1].append(more)
            yield self._delta({"type": f"{kind}_delta", kind: more})

    def _start(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._close()
        self._open = block["type"]
        yield {"type": "content_block_start", "index": self._n_blocks, "content_block": block}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._n_blocks, "delta": delta}

    def _close(self) -> Iterator[dict[str, Any]]:
        if not self._open:
            return
        if self._open == "thinking":  # clients keep no thought that has no signature
            yield self._delta({"type": "signature_delta", "signature": ""})
        yield {"type": "content_block_stop", "index": self._n_blocks}
        self._open = ""
        self._n_blocks += 1

    # -- what stands round them

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        reason = self._reason()
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": self._end.stopped_by if self._end and reason == "stop_sequence" else None,
            "stop_details": None,
            "container": None,
            "usage": self._usage(),
        }

    def _reason(self) -> str | None:
        """Why the answer ended."""
        end = self._end
        if end is None:
            return None
        if end.stop_reason != "stop":
            return "max_tokens"
        if self._reading.calls:
            return "tool_use"
        return "stop_sequence" if end.stopped_by in self._stops else "end_turn"

    def _usage(self) -> dict[str, Any]:
        counts = self._end.counts if self._end is not None else {}
        return {
            "input_tokens": int(counts.get("n_prompt", 0)),
            "output_tokens": int(counts.get("n_tokens", 0)),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": None,
            "server_tool_use": None,
            "output_tokens_details": None,
            "service_tier": None,
            "inference_geo": None,
        }

    def _beside(self) -> dict[str, Any]:
        about = {"hoshikage": about_work(self._end)} if self._end is not None else {}
        return {**about, **warned(self._warnings)}


def grown_block(kind: str, text: str) -> dict[str, Any]:
    """A block of text, or of thinking."""
    return {"type": kind, kind: text, **({"citations": None} if kind == "text" else {"signature": ""})}


def tool_use(call: dict[str, Any]) -> dict[str, Any]:
    """A call of a function as a block."""
    function = call["function"]
    try:
        known = json.loads(function["arguments"])
        jsons.write(known)
    except (TypeError, RecursionError):  # a whole number of more than 64 bits, or what is nested too deeply
        known = {"arguments": function["arguments"]}
    about = {"id": "toolu_" + call["id"].removeprefix("call_"), "name": function["name"], "input": known}
    return {"type": "tool_use", **about, "caller": {"type": "direct"}}
