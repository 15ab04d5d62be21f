"""From a job to its answer, whole or streamed: the same way for every route, which brings its own form.

An answer that fails before its first byte is an HTTP error; later, an event with the error ends the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar

from blacksheep import Content, Response

from hoshikage.manager.job import Job
from hoshikage.server import jsons, sse
from hoshikage.server.failures import noted
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.wire import OPENAI, Wire
from hoshikage.server.work import Work, first_of
from hoshikage.worker.ask import Answered, Event, Said

T = TypeVar("T")
LARGE = 1 << 11  # tokens and alternatives, whose JSON takes milliseconds to make


class Form(Protocol):
    """How a route writes what it is told of an answer; one object for each request."""

    def opening(self) -> Iterator[Any]:
        """What a stream begins with."""
        return iter(())

    def said(self, event: Said) -> Iterator[Any]:
        """What it says of an answer that grows."""

    def answered(self, event: Answered) -> Iterator[Any]:
        """What it says of one that is complete."""

    def closing(self) -> Iterator[Any]:
        """What it ends with."""
        return iter(())

    def whole(self) -> Any:
        """The answer in one piece, once it has been told of everything."""

    def single(self) -> Any:
        """The same as the only chunk of a stream."""
        return self.whole()


async def reply(
    services: Services,
    exchange: Exchange,
    job: Job,
    form: Form,
    *,
    stream: bool,
    single: bool = False,
    wire: Wire = OPENAI,
) -> Response:
    """Answer a request with what comes of a job; `single` streams the whole answer as one chunk."""
    work = Work(services, exchange, job)
    await work.begin()
    if not stream:
        n = 0
        async for event in work.events():
            n += n_probable(event)
            await written_apart(n_probable(event), told, form, event)
        return await written_apart(n, lambda: json_response(form.whole()))
    events = work.events(services.limits.quiet_seconds)
    return await written(services, exchange, events, form, single=single, wire=wire)


async def written(
    services: Services,
    exchange: Exchange,
    events: AsyncIterator[Event | None],
    form: Form,
    *,
    single: bool = False,
    wire: Wire = OPENAI,
) -> Response:
    """A stream of what these events tell. Raises what keeps it from its first byte."""
    first = await first_of(events, services.limits.quiet_seconds)
    exchange.notes["stream"] = True
    writer = Writer(services, exchange, form, single, wire)
    return sse.stream(writer.write(first, events), wire.kind)


def json_response(value: Any, status: int = 200) -> Response:
    """A value of ours as an answer."""
    return Response(status, None, Content(b"application/json", jsons.write(value)))


def n_probable(event: Event | None) -> int:
    """Tokens whose probabilities an event tells, alternatives included: what makes an answer large."""
    if not isinstance(event, (Said, Answered)):
        return 0
    tokens = event.tokens if isinstance(event, Said) else (*event.prompt, *event.tokens)
    return sum(1 + len(token.top) for token in tokens)


async def written_apart(n: int, write: Callable[..., T], *arguments: Any) -> T:
    """What `write` gives; where it writes so many probabilities on another thread, as others are served meanwhile."""
    return await asyncio.to_thread(write, *arguments) if n > LARGE else write(*arguments)


def told(form: Form, event: Event | None) -> list[Any]:
    """What a form makes of an event."""
    if isinstance(event, Said):
        return list(form.said(event))
    return list(form.answered(event)) if isinstance(event, Answered) else []


class Writer:
    """Writes one stream."""

    def __init__(self, services: Services, exchange: Exchange, form: Form, single: bool, wire: Wire) -> None:
        self._metrics = services.metrics
        self._quiet = services.limits.quiet_seconds
        self._exchange = exchange
        self._form = form
        self._single = single
        self._wire = wire
        self._last = time.monotonic()
        self._n = 0  # of probabilities, so far

    async def write(self, first: Event | None, events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
        """The bytes of the stream, to its end or to its error."""
        try:
            if not self._single:
                yield self._bytes(list(self._form.opening()))
            async for piece in self._body(first, events):
                yield piece
            if end := await written_apart(self._n if self._single else 0, self._end):
                yield end
        except Exception as error:
            yield self._failed(error)

    async def _body(self, first: Event | None, events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
        if first is not None and (piece := await self._piece(first)):
            yield piece
        async for event in events:
            piece = await self._piece(event)
            if piece and not self._exchange.gone:  # its job ends by its cancelled ticket, and counts what it wrote
                yield piece

    async def _piece(self, event: Event | None) -> bytes:
        n = n_probable(event)
        self._n += n
        return await written_apart(n, self._of, event)

    def _of(self, event: Event | None) -> bytes:
        """What one event adds, maybe nothing; a comment when there has been nothing for long."""
        chunks = told(self._form, event)
        if chunks and not self._single:
            return self._bytes(chunks)
        if time.monotonic() - self._last < self._quiet:
            return b""
        self._last = time.monotonic()
        return self._wire.alive()

    def _bytes(self, chunks: list[Any]) -> bytes:
        self._last = time.monotonic()
        return b"".join(map(self._wire.piece, chunks)) or self._wire.alive()

    def _end(self) -> bytes:
        chunks = [*([self._form.single()] if self._single else []), *self._form.closing()]
        return b"".join(map(self._wire.piece, chunks)) + self._wire.done

    def _failed(self, error: Exception) -> bytes:
        return self._wire.piece(self._wire.failed(noted(error, self._exchange, self._metrics)))
