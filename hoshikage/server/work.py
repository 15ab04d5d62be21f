"""A job on behalf of a request: handed to the manager, heard on the event loop, cancelled when its client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from hoshikage.manager.job import Job, Ticket
from hoshikage.server.inbox import Inbox
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.worker.ask import Answered, Done, Event, Failed, Loading, Said, Waiting


class Work:
    """One job at work."""

    def __init__(self, services: Services, exchange: Exchange, job: Job) -> None:
        self._metrics = services.metrics
        self._rates = services.rates
        self._manager = services.manager
        self._exchange = exchange
        self._job = job
        self._inbox = Inbox()
        self._ticket: Ticket | None = None
        self._started = self._stage_began = time.monotonic()
        self._stage = "waiting"

    async def begin(self) -> None:
        """Hand the job in; raises what is known at once."""
        self._exchange.notes["model"] = self._job.model
        ticket = await asyncio.to_thread(self._manager.submit, self._job, self._inbox.tell)
        self._ticket = ticket
        self._exchange.when_gone(ticket.cancel)

    async def events(self, quiet: float | None = None) -> AsyncIterator[Event | None]:
        """All events to `Done`; None after so many seconds without one. Raises the error of a job that failed."""
        try:
            while True:
                event = await self._inbox.next(quiet)
                self._measure(event)
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Answered):
                    await self._rates.spend(self._exchange.who, n_tokens_of(event))
                if isinstance(event, Done):
                    self._ticket = None  # there is nothing left to be cancelled
                yield event
                if isinstance(event, Done):
                    return
        finally:
            if self._ticket is not None:
                self._ticket.cancel()  # whoever stops listening wants no more; a job that is done does not mind

    def _measure(self, event: Event | None) -> None:
        match event:
            case Loading() if self._stage == "waiting":
                self._next_stage("loading")
            case Said() | Answered() if self._stage != "answering":
                self._next_stage("answering")
                self._metrics.first_text(self._job.model, time.monotonic() - self._started)
            case Done() | Failed():
                self._next_stage("done")
        if isinstance(event, Answered):
            self._metrics.answer(self._job.model, event.counts)
            notes = self._exchange.notes
            notes["n_prompt"] = notes.get("n_prompt", 0) + event.counts.get("n_prompt", 0)
            notes["n_tokens"] = notes.get("n_tokens", 0) + event.counts.get("n_tokens", 0)

    def _next_stage(self, stage: str) -> None:
        now = time.monotonic()
        self._metrics.stage(self._stage, now - self._stage_began)
        self._stage, self._stage_began = stage, now


def n_tokens_of(event: Answered) -> int:
    """Read and written."""
    return int(event.counts.get("n_prompt", 0) + event.counts.get("n_tokens", 0))


async def value_of(services: Services, exchange: Exchange, job: Job) -> dict[str, Any]:
    """What a job without answers gives: tokens, a text, facts."""
    work = Work(services, exchange, job)
    await work.begin()
    value: dict[str, Any] = {}
    async for event in work.events():
        if isinstance(event, Done):
            value = dict(event.value)
    return value


async def first_of(events: AsyncIterator[Event | None], quiet: float) -> Event | None:
    """The first event of an answer; None once the client should hear that it is being worked on.

    Until then a failure can still be an HTTP status.
    """
    until = time.monotonic() + quiet
    async for event in events:
        if event is None or (isinstance(event, (Waiting, Loading)) and time.monotonic() >= until):
            return None
        if not isinstance(event, (Waiting, Loading)):
            return event
    return None
