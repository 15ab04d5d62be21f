"""Texts continued and gaps filled: whole, streamed, and in lists."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from blacksheep import Response

from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.server import jsons
from hoshikage.server.failures import noted
from hoshikage.server.fields import Given, Table, given_in, warned
from hoshikage.server.openai.form import about_work
from hoshikage.server.problem import Problem
from hoshikage.server.reply import Form, json_response, told, written
from hoshikage.server.reynard.tables import GENERATE, INFILL, MANY_GAPS, MANY_TEXTS
from hoshikage.server.reynard.work import Asked
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.wire import EVENTS, LINES
from hoshikage.worker.ask import Answered, Said

LISTS = ("texts", "infill_requests", "requests")
OF_A_LIST = (*LISTS, "batch_size", "parallel_processing")
NO_STREAM = "stream has no effect here; ask at {path}/stream"


async def generate(services: Services, exchange: Exchange) -> Response:
    """Continue a text."""
    return await whole(services, exchange, GENERATE, "generated_text")


async def infill(services: Services, exchange: Exchange) -> Response:
    """Fill a gap."""
    return await whole(services, exchange, INFILL, "infilled_text")


async def generate_stream(services: Services, exchange: Exchange) -> Response:
    """Continue a text, and send it while it is made."""
    return await streamed(services, exchange, GENERATE, "generated_text")


async def infill_stream(services: Services, exchange: Exchange) -> Response:
    """Fill a gap, and send it while it is made."""
    return await streamed(services, exchange, INFILL, "infilled_text")


async def generate_batch(services: Services, exchange: Exchange) -> Response:
    """Continue several texts."""
    return await batch(services, exchange, (MANY_TEXTS, GENERATE), "generated_text")


async def infill_batch(services: Services, exchange: Exchange) -> Response:
    """Fill several gaps."""
    return await batch(services, exchange, (MANY_GAPS, INFILL), "infilled_text")


async def whole(services: Services, exchange: Exchange, table: Table, key: str) -> Response:
    """The answer in one piece."""
    given = await given_in(exchange, table)
    warnings = [NO_STREAM.format(path=exchange.raw_path)] if given.get("stream", False) else []
    return json_response(await answered(services, exchange, given, key, warnings))


async def answered(
    services: Services, exchange: Exchange, given: Given, key: str, warnings: list[str]
) -> dict[str, Any]:
    """One answer."""
    asked = Asked(services, exchange, given, "end")
    form = ReynardForm(asked, key, [*given.warnings, *warnings])
    async for event in asked.events():
        told(form, event)
    return form.whole()


async def streamed(services: Services, exchange: Exchange, table: Table, key: str) -> Response:
    """The answer piece by piece: an event or a line for each, as the client accepts."""
    given = await given_in(exchange, table)
    single = services.settings.diffusion_stream == "single"
    asked = Asked(services, exchange, given, "end" if single else "text")
    form = ReynardForm(asked, key, given.warnings)
    wire = EVENTS if "text/event-stream" in exchange.headers.get("accept", "").lower() else LINES
    events = asked.events(services.limits.quiet_seconds)
    return await written(services, exchange, events, form, wire=replace(wire, failed=error_event))


async def batch(services: Services, exchange: Exchange, tables: tuple[Table, Table], key: str) -> Response:
    """Several answers, in the order of the requests; one that fails leaves the others alone."""
    started = time.monotonic()
    given = await given_in(exchange, tables[0])
    many = await asyncio.to_thread(requests_in, exchange, given, tables[1])
    n_together = given.get("batch_size", 4) if given.get("parallel_processing", True) else 1
    n_together = min(n_together, services.settings.max_per_key or n_together)  # a list by itself is never too much
    together = asyncio.Semaphore(n_together)

    async def one(number: int) -> dict[str, Any]:
        async with together:
            return await attempted(services, exchange, many[number], key, number)

    results = await asyncio.gather(*map(one, range(len(many))))
    seconds = time.monotonic() - started
    return json_response(
        {
            "success": True,
            "results": results,
            "total_processing_time": seconds,
            "average_processing_time": seconds / len(results),
            "tokens_generated": sum(result["tokens_generated"] for result in results),
            "batch_size": min(n_together, len(results)),
            "parallel_processing_used": n_together > 1,
            "metadata": {
                "model_id": given.get("model_id"),
                "total_requests": len(results),
                "successful": sum(result["success"] for result in results),
            },
        }
    )


def requests_in(exchange: Exchange, given: Given, table: Table) -> list[Given]:
    """What is asked for in each request of a list: its own parameters, and otherwise those that all share."""
    lists = [name for name in LISTS if name in given.values]
    if len(lists) != 1:
        cause = "there are two lists of requests" if lists else "there is no list of requests"
        raise ParameterError(lists[-1] if lists else "requests", cause, f"send one of {', '.join(LISTS)}")
    body = jsons.read_object(exchange.body, exchange.headers.get("content-type", ""))
    shared = {name: value for name, value in body.items() if name not in OF_A_LIST}
    many = []
    for i, own in enumerate(given[lists[0]]):
        try:
            many.append(table.read({**shared, **own}))
        except ParameterError as error:
            raise ParameterError(f"{lists[0]}[{i}].{error.name}", error.cause, error.remedy) from None
    return many


async def attempted(services: Services, exchange: Exchange, given: Given, key: str, number: int) -> dict[str, Any]:
    """An answer of a list, or why there is none."""
    about = {"index": number, **{name: given[name] for name in ("prefix", "suffix") if name in given.values}}
    about |= {"input_text": given["text"]} if "text" in given.values else {}
    try:
        return {**about, **await answered(services, exchange, given, key, [])}
    except (HoshikageError, Problem) as error:
        problem = noted(error, exchange, services.metrics)
        nothing = {key: "", "tokens_generated": 0, "processing_time": 0.0, "success": False}
        return {**about, **nothing, "error": problem.body["error"]["message"], "code": problem.code}


class ReynardForm(Form):
    """Writes an answer as Reynard's clients read it."""

    def __init__(self, asked: Asked, key: str, warnings: Sequence[str]) -> None:
        self._asked = asked
        self._key = key
        self._warnings = list(warnings)
        self._end: Answered | None = None

    def said(self, event: Said) -> Iterator[dict[str, Any]]:
        if event.delta:
            yield event_of("token", event.delta)

    def answered(self, event: Answered) -> Iterator[dict[str, Any]]:
        self._end = event
        self._warnings += event.warnings
        if event.delta:
            yield event_of("token", event.delta)
        yield event_of("complete", event.text, self._about())

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        assert self._end is not None, "written only once the answer is complete"
        about = self._about()
        named = {name: about.pop(name) for name in ("model_id", "processing_time", "tokens_generated")}
        return {"success": True, self._key: self._end.text, **named, "metadata": about}

    def _about(self) -> dict[str, Any]:
        assert self._end is not None, "known only once the answer is complete"
        return {
            "model_id": self._asked.model,
            "processing_time": round(self._asked.seconds, 6),
            "tokens_generated": int(self._end.counts["n_tokens"]),
            "model": self._asked.label,
            "stop_reason": self._end.stop_reason,
            **about_work(self._end),
            **warned(self._warnings),
        }


def event_of(kind: str, data: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """An event of a stream."""
    return {"type": kind, "data": data, "timestamp": time.time(), "metadata": metadata or {}}


def error_event(problem: Problem) -> dict[str, Any]:
    """The last event of a stream that broke off."""
    return event_of("error", problem.body["error"]["message"], {"code": problem.code, "status": problem.status})


def as_reynard(problem: Problem) -> dict[str, Any]:
    """An error as an answer: a client that looks for `success`, and one that reads events, both find it."""
    return {"success": False, **error_event(problem), "detail": problem.body["error"]["message"], **problem.body}
