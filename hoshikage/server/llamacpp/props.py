"""What a model is like, how busy it is, and how it reads a conversation. Only the last loads anything."""

from __future__ import annotations

from typing import Any

from blacksheep import Response

from hoshikage._version import __version__
from hoshikage.manager.state import ModelState
from hoshikage.registry import Facts, Model
from hoshikage.server.choosing import default_label, label_of
from hoshikage.server.fields import given_in, queried
from hoshikage.server.llamacpp.tables import TEMPLATE
from hoshikage.server.openai.chat import conversation
from hoshikage.server.openai.models import state_of
from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.tokens import asked, tokenizer

SLEEPING = ("cold", "staged", "failed")


async def props(services: Services, exchange: Exchange) -> Response:
    """A model's facts; the model is the one that `?model=` names, or the one that a request without a name means."""
    state = await asked_state(services, exchange)
    chosen = await services.choices.choose(state.label)
    special = await tokenizer(services, state.label)
    slots = slots_of(state, n_seq_of(services, chosen.model))
    return json_response(
        {
            "default_generation_settings": {**slots[0], "params": {}},
            "total_slots": len(slots),
            "model_alias": state.label,
            "model_path": chosen.model.path.name,
            "chat_template": special["chat_template"] or "",
            "bos_token": special["bos_token"] or "",
            "eos_token": special["eos_token"] or "",
            "modalities": {"vision": False, "audio": False},
            "role": "router",
            "chat_template_caps": caps_of(chosen.facts),
            "models_autoload": True,
            "max_instances": services.settings.max_resident,
            "is_sleeping": state.state in SLEEPING,
            "build_info": f"hoshikage-{__version__}",
        }
    )


def caps_of(facts: Facts) -> dict[str, bool]:
    """What its chat template tells a model of."""
    return {"supports_tools": facts.tells_of_tools, "supports_tool_calls": facts.tells_of_tools}


async def slots(services: Services, exchange: Exchange) -> Response:
    """The places for requests side by side, and which are taken; none where the model is not in memory."""
    state = await asked_state(services, exchange)
    chosen = await services.choices.choose(state.label)
    return json_response([] if state.state in SLEEPING else slots_of(state, n_seq_of(services, chosen.model)))


async def apply_template(services: Services, exchange: Exchange) -> Response:
    """A conversation as the model reads it."""
    given = await given_in(exchange, TEMPLATE)
    body = conversation(given) | {"add_generation_prompt": given.get("add_generation_prompt") is not False}
    value = await asked(services, exchange, await label_of(services, given), "template", body)
    return json_response({"prompt": value["text"], **given.beside})


async def asked_state(services: Services, exchange: Exchange) -> ModelState:
    """The model that a GET is about."""
    return await state_of(services, queried(exchange, "model") or await default_label(services))


def n_seq_of(services: Services, model: Model) -> int:
    """Requests that it takes side by side."""
    return int(model.settings.get("n_seq", services.settings.n_seq))


def slots_of(state: ModelState, n_seq: int) -> list[dict[str, Any]]:
    n_ctx = state.facts.n_ctx if state.facts is not None else 0
    return [
        {"id": i, "id_task": -1, "n_ctx": n_ctx, "speculative": False, "is_processing": i < state.n_active}
        for i in range(n_seq)
    ]
