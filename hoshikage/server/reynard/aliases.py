"""Which model a request means: Reynard's two names, the name of any other model, or none at all.

`dreamon` and `llada` are models of an owner who has registered files by these names, and the embedded ones otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

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


async def label_of(services: Services, name: str) -> str:
    """The label of the model that a request names. Raises UnknownModelError, or what is wrong with its entry."""
    return await services.files.look(("label", name), lambda: _label_of(services.registry, name))


def _label_of(registry: Registry, name: str) -> str:
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


async def labels_for(services: Services, name: str | None) -> AsyncIterator[str]:
    """The models to try, in order: one where it is named, otherwise the default and then others.

    The others are looked for only when the default one does not do: the file of any of them may hang.
    """
    first = name if name is not None else services.reynard.config["default_model"]
    if first is not None:
        try:
            first = await label_of(services, first)
        except UnknownModelError:
            if name is not None:
                raise
        yield first  # one that is not there leads to others; where there are none, this is what is told
    if name is None:
        for state in sorted(filter(fills_gaps, await services.lookout.now()), key=preference):
            if state.label != first and (state.state == "resident" or state.error is None):
                yield state.label
