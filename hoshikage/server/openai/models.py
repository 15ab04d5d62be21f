"""`GET /v1/models`: what can be asked for, and what is being done with it. Looking wakes no model."""

from __future__ import annotations

from typing import Any

from blacksheep import Response

from hoshikage.errors import FileError, HoshikageError, UnknownModelError
from hoshikage.manager.state import ModelState
from hoshikage.registry.labels import near
from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange

TEXT_ALONE = {"input_modalities": ["text"], "output_modalities": ["text"]}
# The words of llama-server's clients, which show a button for each of them.
STATUS = {
    "cold": "unloaded",
    "staged": "sleeping",
    "loading": "loading",
    "resident": "loaded",
    "draining": "unloading",
    "failed": "unloaded",
}


async def listing(services: Services, exchange: Exchange) -> Response:
    """Every model."""
    del exchange
    states = await services.lookout.now()
    return json_response({"object": "list", "data": [card(state, services.started) for state in states]})


async def one(services: Services, exchange: Exchange) -> Response:
    """One model."""
    return json_response(card(await state_of(services, exchange.values["id"]), services.started))


async def state_of(services: Services, label: str) -> ModelState:
    """Raises UnknownModelError."""
    states = await services.lookout.now()
    for state in states:
        if state.label == label:
            return state
    raise UnknownModelError(f"there is no model {label[:60]!r}{near(label, [state.label for state in states])}")


def card(state: ModelState, created: float) -> dict[str, Any]:
    """A model as OpenAI's clients expect it, and what is ours beside it. Never a path."""
    facts = state.facts
    known: dict[str, Any] = {"id": state.label, "object": "model", "created": int(created), "owned_by": "hoshikage"}
    if facts is not None:
        known |= {
            "kind": facts.kind,
            **({"block_length": facts.block_length} if facts.block_length else {}),
            "model_architecture": facts.architecture,
            "architecture": TEXT_ALONE,  # so called by llama-server, whose clients refuse another shape
            "meta": {"n_ctx": facts.n_ctx},
            "context_length": facts.n_ctx,
            "max_model_len": facts.n_ctx,
            "bytes": facts.n_bytes,
            "has_chat_template": facts.has_chat_template,
        }
    return known | {
        "state": state.state,
        "status": {"value": STATUS[state.state], "failed": state.state == "failed"},
        "progress": state.progress,
        "n_active": state.n_active,
        "n_waiting": state.n_waiting,
        "resident_bytes": state.n_bytes,
        "unloads_in": state.unloads_in,
        **({"problem": told(state.error)} if state.error is not None else {}),
        **({"notes": list(state.notes)} if state.notes else {}),
    }


def told(error: HoshikageError) -> str:
    """What is wrong, without the path of a file."""
    return error.sentence if isinstance(error, FileError) else str(error)
