"""The owner's routes, in the words that the clients of our ancestor send and read; and what else those ask."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from blacksheep import Response

from hoshikage._version import __version__
from hoshikage.checks import Place, Text, Texts
from hoshikage.errors import FileError, LabelTaken, ParameterError, RegistryError
from hoshikage.manager.state import ModelState
from hoshikage.registry import rows_of_model
from hoshikage.server.fields import Field, Given, Table, given_in
from hoshikage.server.openai.models import card, state_of
from hoshikage.server.openai.values import FLAG, Duration
from hoshikage.server.problem import Problem
from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange

ADD = Table(
    [
        Field(name="name", check=Text(128), meaning="the name to give it", required=True),
        Field(name="path", check=Place(), meaning="the GGUF file", required=True),
        Field(
            name="stop",
            check=Texts(most=128, most_characters=1024),
            meaning="strings that end every answer, beside the usual ones",
        ),
        Field(name="replace", check=FLAG, meaning="give a name that is taken to this file", default=False),
        *(
            Field(name=row.name, check=row.check, meaning=row.meaning, default=row.default, option=row.name)
            for row in rows_of_model().values()
        ),
    ]
)
WAKE = Table(
    [Field(name="keep_alive", check=Duration(), meaning='how long it stays: seconds or "5m"; below 0: for good')]
)


async def status(services: Services, exchange: Exchange) -> Response:
    """That the server is there."""
    del services, exchange
    return json_response({"status": "ok"})


async def version(services: Services, exchange: Exchange) -> Response:
    """The version of the server."""
    del services, exchange
    return json_response({"version": __version__})


async def add(services: Services, exchange: Exchange) -> Response:
    """Give a model file a name, for good."""
    given = await given_in(exchange, ADD)
    state = await register(services, given["name"], given)
    return json_response({"status": "ok", "model": card(state, services.started), **given.beside}, 201)


async def register(services: Services, name: str, given: Given) -> ModelState:
    """Give the file of a request this name."""
    path = Path(given["path"])
    try:
        stop, replace = given.get("stop", ()), given.get("replace", False)
        add = partial(services.registry.add, path, name, stop, given.options, replace=replace)
        await services.files.do(path, add)
    except LabelTaken as error:
        remedy = "choose another name, or send replace: true"
        raise Problem(409, f"{error.cause}; {remedy}", "model_exists", param="name") from None
    except ParameterError as error:
        raise Problem(400, error.sentence, "validation_error", param=lower(error.name)) from None
    except RegistryError as error:
        raise Problem(500, error.sentence, "registry_error") from error
    except FileError as error:
        raise Problem(400, error.sentence, "not_a_model", param="path") from None
    services.choices.forget()
    return await state_of(services, name)


async def remove(services: Services, exchange: Exchange) -> Response:
    """Forget the name of a model; its file stays. What it is doing is finished first."""
    await forget(services, exchange.values["name"])
    return json_response({"status": "ok"})


async def forget(services: Services, name: str) -> None:
    """Take a name out of the file of models."""

    def leave() -> None:
        services.registry.remove(name)
        services.manager.forget(name)  # even when nobody waits for it any more

    try:
        await services.files.do(name, leave)
    except ParameterError as error:
        raise Problem(409, error.sentence, "model_fixed", param="name") from None
    services.choices.forget()


async def reload(services: Services, exchange: Exchange) -> Response:
    """Read `model_map.json` and MODEL_DIR again, which every request does anyway, and say what is there."""
    del exchange
    catalogue = await services.files.look("catalogue", services.registry.catalogue)
    if catalogue.fault is not None:
        raise catalogue.fault
    broken = {label: error.cause for label, error in catalogue.broken.items()}
    return json_response({"status": "ok", "models": list(catalogue.models), "broken": broken})


async def load(services: Services, exchange: Exchange) -> Response:
    """Begin to load a model; the answer does not wait for it."""
    given = await given_in(exchange, WAKE) if exchange.body else WAKE.read({})
    state = await state_of(services, exchange.values["name"])
    await wake(services, state.label, given.get("keep_alive"))
    return json_response(card(await state_of(services, state.label), services.started) | given.beside, 202)


async def wake(services: Services, label: str, keep_alive: float | None = None) -> None:
    """Begin to load a model."""
    begin = partial(services.manager.wake, label, keep_alive)
    await services.files.do(label, begin, lambda late: late.cancel())


async def unload(services: Services, exchange: Exchange) -> Response:
    """Take a model out of memory once what it is doing is finished."""
    state = await state_of(services, exchange.values["name"])
    await asyncio.to_thread(services.manager.unload, state.label)
    return json_response(card(await state_of(services, state.label), services.started), 202)


def lower(name: str) -> str:
    """The command line's names of parameters as this API's."""
    return {"LABEL": "name", "label": "name", "PATH": "path", "STOP": "stop"}.get(name, name)
