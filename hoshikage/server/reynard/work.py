"""One request on Reynard's routes, from its turn to its last event, and what is counted of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

from hoshikage.errors import Cancelled, HoshikageError, TookTooLong, UnknownModelError, WaitedTooLong
from hoshikage.manager.job import Job
from hoshikage.server.choosing import Chosen
from hoshikage.server.fields import Given
from hoshikage.server.openai.asking import engine_options, job_of
from hoshikage.server.openai.completions import refuse_gap
from hoshikage.server.problem import problem_of
from hoshikage.server.reynard.aliases import RANGES, labels_for
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.work import Work
from hoshikage.worker.ask import Answered, Event, Said, Watch

GAP = 256  # tokens of a gap whose length nobody names, as its repository has it
OPTIONS = ("temperature", "top_p", "top_k", "repetition_penalty")
ABOUT_THE_MODEL = ("model_not_found", "model_load_failed", "no_room")


class Asked:
    """One request."""

    def __init__(self, services: Services, exchange: Exchange, given: Given, watch: Watch) -> None:
        self.named: str | None = given.get("model_id")
        self.label = ""  # of the model that answers
        self._services = services
        self._office = services.reynard
        self._exchange = exchange
        self._given = given
        self._watch: Watch = watch
        self._started = time.monotonic()
        settings, config = services.settings, services.reynard.config
        self._whole = shortest(given.get("timeout"), config["timeout_seconds"], settings.max_time)
        self._wait = shortest(given.get("queue_timeout"), settings.max_wait)
        if self.named in RANGES:
            check_ranges(given, RANGES[self.named])

    @property
    def model(self) -> str:
        """The model as the client knows it."""
        return self.named or self.label

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    async def events(self, quiet: float | None = None) -> AsyncIterator[Event | None]:
        """All events, once its turn has come; None after so many seconds without one."""
        end: Answered | None = None
        turns = self._office.turns
        place = turns.stand(self._exchange.who)
        self._exchange.when_gone(partial(turns.give_up, place))
        try:
            async for nothing in self._until(place.turn, quiet):
                yield nothing
            async for event in self._first_that_answers(quiet):
                end = event if isinstance(event, Answered) else end
                yield event
        finally:
            turns.leave(place)
            self._count(end)

    async def _until(self, turn: asyncio.Future[None], quiet: float | None) -> AsyncIterator[None]:
        """Until its turn has come."""
        while not turn.done():
            await asyncio.wait([turn], timeout=shortest(quiet, self._left(self._whole), self._left(self._wait)))
            if turn.done():
                break
            if self._whole is not None and self.seconds >= self._whole:
                raise TookTooLong(self._whole)
            if self._wait is not None and self.seconds >= self._wait:
                raise WaitedTooLong(self._wait)
            yield None
        if turn.cancelled():
            raise Cancelled

    def _left(self, limit: float | None) -> float | None:
        """Seconds of a limit that are left; what is over leaves a moment, for 0 would be none."""
        return None if limit is None else max(limit - self.seconds, 0.001)

    async def _first_that_answers(self, quiet: float | None) -> AsyncIterator[Event | None]:
        """A request that names no model falls back to another one, until one has said something."""
        failure: HoshikageError | None = None
        async for label in labels_for(self._services, self.named):
            said = False
            try:
                work = Work(self._services, self._exchange, await self._job(label))
                await work.begin()
                async for event in work.events(quiet):
                    said = said or isinstance(event, (Said, Answered))
                    yield event
                return
            except HoshikageError as error:
                if said or problem_of(error).code not in ABOUT_THE_MODEL:
                    raise
                failure = error
        raise failure or UnknownModelError("there is no diffusion model", "add a masked diffusion model")

    async def _job(self, label: str) -> Job:
        chosen = await self._services.choices.choose(label)
        self.label = label
        options = {**self._defaults(), **engine_options(self._given, chosen)}
        if "prefix" in self._given.values:
            self._check_gap(chosen)
            body: dict[str, Any] = {name: self._given.get(name) for name in ("prefix", "suffix", "length")}
            job = job_of(self._exchange, self._given, chosen, "infill", {**body, "options": options}, self._watch)
        else:
            body = {"prompts": [self._given["text"]], "options": options}
            job = job_of(self._exchange, self._given, chosen, "generate", body, self._watch)
        settings = self._office.load_settings
        return replace(job, wait=self._left(self._wait), time=self._left(self._whole), settings=settings)

    def _check_gap(self, chosen: Chosen) -> None:
        """Where no model is named, one that cannot fill a gap is passed over as one that is not there."""
        if self.named is None and not chosen.fills_gaps:
            cause = f"the default model {chosen.model.label!r} fills no gaps, and there is no other that does"
            raise UnknownModelError(cause, "add a masked diffusion model")
        refuse_gap("model_id", chosen)

    def _defaults(self) -> dict[str, Any]:
        config = self._office.config
        length = min(config["max_length"], GAP) if "prefix" in self._given.values else config["max_length"]
        return {"max_tokens": length, **{name: config[name] for name in OPTIONS}}

    def _count(self, end: Answered | None) -> None:
        statistics = self._office.statistics
        if end is None or end.stop_reason == "cancelled":
            statistics.n_failed += 1
            return
        device = "cuda" if self._services.manager.is_on_gpu(self.label) else "cpu"
        statistics.well(self.model, device, self.seconds, int(end.counts["n_tokens"]))


def shortest(*limits: float | None) -> float | None:
    """The shortest of some limits in seconds, of which None and 0 are none."""
    return min((limit for limit in limits if limit), default=None)


def check_ranges(given: Given, ranges: Any) -> None:
    """Raises ParameterError for a value beyond those of one of Reynard's two models."""
    names = {"max_length": "max_tokens"}
    for name, check in ranges.items():
        value = given.options.get(names.get(name, name))
        if value is not None:
            check.check(name, value)
