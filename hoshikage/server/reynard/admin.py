"""What can be seen and done about Reynard's routes: models, configuration, statistics."""

from __future__ import annotations

import asyncio
from typing import Any

from blacksheep import Response

from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.manager.job import Job
from hoshikage.manager.state import ModelState
from hoshikage.server.choosing import fills_gaps
from hoshikage.server.fields import given_in
from hoshikage.server.openai.models import card, told
from hoshikage.server.reply import json_response
from hoshikage.server.reynard.aliases import ABOUT, LONGEST, RANGES, label_of
from hoshikage.server.reynard.tables import CONFIG
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.work import value_of
from hoshikage.worker.ask import Ask

MIB = 1 << 20


async def models(services: Services, exchange: Exchange) -> Response:
    """The two names, and every diffusion model by its own."""
    del exchange
    known = await known_models(services)
    return json_response({"models": [brief(services, name, state) for name, state in known]})


async def models_in_detail(services: Services, exchange: Exchange) -> Response:
    """The same with all that is known of each."""
    del exchange
    known = await known_models(services)
    details = [
        brief(services, name, state) | ({"details": card(state, services.started)} if state else {})
        for name, state in known
    ]
    return json_response({"models": details})


async def known_models(services: Services) -> list[tuple[str, ModelState | None]]:
    """Names, and the model behind each; nothing behind one that points nowhere."""
    states = {state.label: state for state in await services.lookout.now()}
    named = [(name, states.get(await label_or_name(services, name))) for name in RANGES]
    return named + [(label, state) for label, state in states.items() if label not in RANGES and fills_gaps(state)]


async def label_or_name(services: Services, name: str) -> str:
    try:
        return await label_of(services, name)
    except HoshikageError:
        return name


def brief(services: Services, name: str, state: ModelState | None) -> dict[str, Any]:
    """A model as its clients list it."""
    title, description = ABOUT.get(name, (name, ""))
    facts = state.facts if state is not None else None
    longest = facts.n_ctx if facts is not None else 0
    error = state.error if state is not None else None
    return {
        "model_id": name,
        "name": title if facts is None else f"{title} ({facts.name or state.label})" if state else title,
        "description": description,
        "max_length": min(longest, LONGEST.get(name, longest)),
        "is_available": facts is not None and error is None,
        "device": "" if state is None or not state.n_bytes else "cuda" if state.n_bytes_gpu else "cpu",
        "memory_usage": round((state.n_bytes if state else 0) / MIB, 1),
        "model": state.label if state is not None else None,
        "is_default": name == services.reynard.config["default_model"],
        **({"problem": told(error)} if error is not None else {}),
    }


async def config(services: Services, exchange: Exchange) -> Response:
    """What holds for requests that do not say otherwise."""
    del exchange
    return json_response({"enabled": services.reynard.enabled, **services.reynard.config})


async def change_config(services: Services, exchange: Exchange) -> Response:
    """Change some of it until the server ends."""
    given = await given_in(exchange, CONFIG)
    if given.warnings:
        raise ParameterError("config", given.warnings[0], f"change some of {', '.join(CONFIG.by_name)}")
    if not given.get("enabled", True):
        cause = "these routes cannot be taken away from a server that runs"
        raise ParameterError("enabled", cause, "set DIFFUSION_ENABLED=false and start it again")
    default = given.get("default_model")
    if default is not None:
        await label_of(services, default)
    services.reynard.change(given.without("enabled").values)
    return await config(services, exchange)


async def stats(services: Services, exchange: Exchange) -> Response:
    """What was asked of these routes since the server began."""
    del exchange
    return json_response(services.reynard.statistics.told())


async def health(services: Services, exchange: Exchange) -> Response:
    """Whether requests are served, and what can be asked for."""
    del exchange
    pulse, known = services.manager.pulse(), await known_models(services)
    available = {name: state is not None and state.facts is not None and not state.error for name, state in known}
    healthy = not pulse.stuck and any(available.values())
    turns = services.reynard.turns
    return json_response(
        {
            "healthy": healthy,
            "status": "healthy" if healthy else "unhealthy",
            "models": available,
            "active_requests": turns.n_taken,
            "waiting_requests": turns.n_waiting,
        }
    )


async def reload(services: Services, exchange: Exchange) -> Response:
    """Load a model anew, once what it is doing is finished; answers when it is there."""
    name = exchange.values["model_id"]
    label = await label_of(services, name)
    services.choices.forget()
    await asyncio.to_thread(services.manager.unload, label)
    settings = services.reynard.load_settings
    await value_of(services, exchange, Job(model=label, ask=Ask(kind="describe"), key=exchange.who, settings=settings))
    return json_response({"success": True, "message": f"Model {name} reloaded successfully", "model": label})


async def cleanup(services: Services, exchange: Exchange) -> Response:
    """Take every diffusion model out of memory that nobody is using."""
    del exchange

    labels = [state.label for state in await services.lookout.now() if fills_gaps(state) and is_idle(state)]
    for label in labels:
        await asyncio.to_thread(services.manager.unload, label)
    return json_response({"success": True, "message": "Service cleanup completed successfully", "unloaded": labels})


def is_idle(state: ModelState) -> bool:
    """Whether it is in memory, and nobody wants anything of it."""
    return state.state == "resident" and not state.n_active and not state.n_waiting
