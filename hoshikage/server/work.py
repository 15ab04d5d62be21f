"""A job on behalf of a request: handed to the manager, heard on the event loop, cancelled when its client leaves."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from hoshikage.manager.job import Job, Ticket
from hoshikage.server.inbox import Inbox
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.worker.ask import Answered, Done, Event, Failed, Loading, Said, Waiting

access_log = logging.getLogger("hoshikage.access")


class Work:
    """One job at work."""

    def __init__(self, services: Services, exchange: Exchange, job: Job) -> None:
        self._metrics = services.metrics
        self._rates = services.rates
        self._manager = services.manager
        self._files = services.files
        self._exchange = exchange
        self._inbox = Inbox(self._count)
        self._job = replace(job, count=self._inbox.count)
        self._ticket: Ticket | None = None
        self._over = False  # nobody listens any more
        self._started = self._stage_began = time.monotonic()
        self._stage = "waiting"

    async def begin(self) -> None:
        """Hand the job in; raises what is known at once. The manager looks whether its model's file is another one."""
        submit = partial(self._manager.submit, self._job, self._inbox.tell)
        ticket = await self._files.do(self._job.model, submit, lambda late: late.cancel())
        self._exchange.notes["model"] = self._job.model  # a model's name now, and no longer what somebody wrote
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
                if isinstance(event, Done):
                    self._ticket = None  # there is nothing left to be cancelled
                yield event
                if isinstance(event, Done):
                    return
        finally:
            self._over = True
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

    def _count(self, counts: Mapping[str, float]) -> None:
        """Of each answer once. The request's own line in the log may be written once nobody listens any more."""
        n_tokens = {name: int(counts.get(name, 0)) for name in ("n_prompt", "n_tokens")}
        self._metrics.answer(self._job.model, counts)
        self._rates.spend(self._exchange.who, sum(n_tokens.values()))
        if self._over:
            access_log.info("request, afterwards", extra={"event": {"id": self._exchange.id, **n_tokens}})
            return
        notes = self._exchange.notes
        notes |= {name: notes.get(name, 0) + n for name, n in n_tokens.items()}

    def _next_stage(self, stage: str) -> None:
        now = time.monotonic()
        self._metrics.stage(self._stage, now - self._stage_began)
        self._stage, self._stage_began = stage, now


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
