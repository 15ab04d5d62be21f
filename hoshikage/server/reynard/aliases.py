"""Which model a request means: Reynard's two names, the name of any other model, or none at all.

`dreamon` and `llada` are models of an owner who has registered files by these names, and the embedded ones otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from hoshikage import nano
from hoshikage.checks import Check, Number, Whole
from hoshikage.errors import UnknownModelError
from hoshikage.registry import Registry
from hoshikage.server.choosing import fills_gaps, preference
from hoshikage.server.services import Services

EMBEDDED = {"dreamon": ("nano-dreamon", "nano-llada"), "llada": ("nano-llada",)}
LIVELY: dict[str, Check[float]] = {"temperature": Number(0.1, 2), "top_p": Number(0.1, 1)}
LONGEST = {"dreamon": 2048, "llada": 1024}  # tokens
RANGES: dict[str, dict[str, Check[float]]] = {
    "dreamon": {"max_length": Whole(1, LONGEST["dreamon"]), **LIVELY, "top_k": Whole(1, 100)},
    "llada": {"max_length": Whole(1, LONGEST["llada"]), **LIVELY},
}
ABOUT = {
    "dreamon": ("DreamOn", "Diffusion text generation: long texts, stories, gaps whose length is open"),
    "llada": ("LLaDA", "Diffusion text infilling and completion"),
}


def label_of(registry: Registry, name: str) -> str:
    """The label of the model that a request names. Raises UnknownModelError, or what is wrong with its entry."""
    try:
        return registry.find(name).label
    except UnknownModelError as error:
        embedded = next((label for label in EMBEDDED.get(name, ()) if label in nano.names()), None)
        if embedded is not None:
            return embedded
        if name in EMBEDDED:
            raise UnknownModelError(
                f"{name!r} points nowhere", f"register a file by this name: hoshikage add FILE {name}"
            ) from None
        raise error from None


async def labels_for(services: Services, name: str | None) -> list[str]:
    """The models to try, in order: one where it is named, otherwise the default and then others."""
    if name is not None:
        return [await asyncio.to_thread(label_of, services.registry, name)]
    return await asyncio.to_thread(lambda: list(dict.fromkeys(unnamed(services))))


def unnamed(services: Services) -> Iterator[str]:
    """What a request without a model can be answered with."""
    default = services.reynard.config["default_model"]
    if default is not None:
        try:
            yield label_of(services.registry, default)
        except UnknownModelError:
            yield default  # others are tried; where there are none, this is what is told
    states = sorted(filter(fills_gaps, services.manager.models()), key=preference)
    yield from (state.label for state in states if state.state == "resident" or state.error is None)
