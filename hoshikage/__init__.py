"""Hoshikage runs diffusion and autoregressive language models from GGUF files, on llama.cpp.

    import hoshikage

    with hoshikage.load("model.gguf") as engine:
        print(engine.generate("The capital of Japan is").text)

Importing the package does no work and opens no library; the first use of a name does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hoshikage import _libs as _libs  # from here on, compiled modules get libllama before they are loaded
from hoshikage._version import __version__
from hoshikage.errors import HoshikageError

if TYPE_CHECKING:
    from hoshikage._board import Board
    from hoshikage.engine.engine import Engine, load
    from hoshikage.engine.result import Result, Snapshot
    from hoshikage.gguf import inspect
    from hoshikage.settings import Settings

__all__ = ["Board", "Engine", "HoshikageError", "Result", "Settings", "Snapshot", "__version__", "inspect", "load"]

_HOMES = {
    "Board": "hoshikage._board",
    "Engine": "hoshikage.engine.engine",
    "Result": "hoshikage.engine.result",
    "Settings": "hoshikage.settings",
    "Snapshot": "hoshikage.engine.result",
    "inspect": "hoshikage.gguf",
    "load": "hoshikage.engine.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hoshikage' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
