"""The embedded models: small GGUF files that come with the package, each with a card that says what it can do."""

from __future__ import annotations

from functools import cache
from os import PathLike, fspath
from pathlib import Path

from hoshikage.envfile import expanded

HERE = Path(__file__).parent
DEFAULT = "nano-ar"  # the one that answers best so far, by the cards
# They copy, count and sort: what makes a large model's prose livelier makes their answers wrong.
SETTINGS = {"temperature": 0.0, "repetition_penalty": 1.0}


def names() -> list[str]:
    """The embedded models, the default one first."""
    return list(files())


def files() -> dict[str, Path]:
    """Their files by their names. What comes with a package stays as it is while a process runs."""
    return _files(HERE)


@cache
def _files(folder: Path) -> dict[str, Path]:
    found = sorted(folder.glob("*.gguf"))
    return {path.stem: path for path in sorted(found, key=lambda path: path.stem != DEFAULT)}


def resolve(model: str | PathLike[str]) -> Path:
    """The file of a model: an embedded one by its name, any other by its path."""
    path = expanded(fspath(model))
    return files().get(fspath(model), path) if not path.exists() else path
