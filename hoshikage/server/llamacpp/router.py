"""Models by name, as llama-server's router has it: listed, loaded, unloaded, added and forgotten, and watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from blacksheep import Response

from hoshikage.errors import ParameterError
from hoshikage.manager.state import ModelState
from hoshikage.server import sse
from hoshikage.server.fields import called, given_in, queried
from hoshikage.server.llamacpp.tables import ADD_MODEL, WHICH
from hoshikage.server.lookout import Look
from hoshikage.server.openai.models import STATUS, card, state_of
from hoshikage.server.owner import forget, register, wake
from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange

LOOK = 0.25  # seconds between two looks at what models do, for those who watch


async def load(services: Services, exchange: Exchange) -> Response:
    """Begin to load a model."""
    given = await given_in(exchange, WHICH)
    state = await state_of(services, given["model"])
    await wake(services, state.label)
    return json_response({"success": True, **given.beside})


async def unload(services: Services, exchange: Exchange) -> Response:
    """Take a model out of memory once what it is doing is finished."""
    given = await given_in(exchange, WHICH)
    state = await state_of(services, given["model"])
    await asyncio.to_thread(services.manager.unload, state.label)
    return json_response({"success": True, **given.beside})


async def add(services: Services, exchange: Exchange) -> Response:
    """Give a file that is on this machine a name; nothing is fetched from elsewhere."""
    given = await given_in(exchange, ADD_MODEL)
    with called(name="model"):
        state = await register(services, given["model"], given)
    return json_response({"success": True, "model": card(state, services.started), **given.beside}, 201)


async def remove(services: Services, exchange: Exchange) -> Response:
    """Forget the name of a model; its file stays."""
    name = queried(exchange, "model")
    if name is None:
        raise ParameterError("model", "it is missing", "send ?model=NAME")
    with called(name="model"):
        await forget(services, name)
    return json_response({"success": True})


async def watch(services: Services, exchange: Exchange) -> Response:
    """Every change of a model from now on; how each stands now is `/models`'s to tell."""
    exchange.notes["stream"] = True
    exchange.when_gone(lambda: None)  # that somebody looks whether the client is still there
    return sse.stream(changes(services, exchange))


async def changes(services: Services, exchange: Exchange) -> AsyncIterator[bytes]:
    """Until the client leaves or the server stops; nothing for one that wants the headers alone."""
    if exchange.method == "HEAD":
        return
    look = await services.lookout.look(time.monotonic())
    known = standing(services, look)
    yield sse.ALIVE  # from here on no change is missed
    last = time.monotonic()
    while not exchange.gone and not services.stopping.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await services.stopping.wait()
        look = await services.lookout.look(max(look.began, time.monotonic() - LOOK))
        now = standing(services, look)
        changed = [value for label, value in now.items() if known.get(label) != value]
        gone = [{"model": label, "event": "model_remove", "data": {}} for label in known if label not in now]
        known = now
        if changed or gone:
            yield b"".join(map(sse.event, [*changed, *gone]))
            last = time.monotonic()
        elif time.monotonic() - last > services.limits.quiet_seconds:
            yield sse.ALIVE
            last = time.monotonic()


def standing(services: Services, look: Look) -> dict[str, dict[str, Any]]:
    """Every model as an event would tell of it."""
    return {state.label: told(state, services.started) for state in look.states}


def told(state: ModelState, started: float) -> dict[str, Any]:
    """An event about a model; what changes by itself all the time is no news."""
    data: dict[str, Any] = {"status": STATUS[state.state], "failed": state.state == "failed"}
    if state.state == "loading":
        data["progress"] = {"stages": ["text_model"], "current": "text_model", "value": round(state.progress, 2)}
    if state.state == "resident":
        about = card(state, started)
        data["info"] = {name: about[name] for name in ("id", "object", "kind", "context_length", "resident_bytes")
                        if name in about}  # fmt: skip
    return {"model": state.label, "event": "status_change", "data": data}
