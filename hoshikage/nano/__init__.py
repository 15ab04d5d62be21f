"""The embedded models: small GGUF files that come with the package, each with a card that says what it can do."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

HERE = Path(__file__).parent
DEFAULT = "nano-ar"  # the one that answers best so far, by the cards
# They copy, count and sort: what makes a large model's prose livelier makes their answers wrong.
SETTINGS = {"temperature": 0.0, "repetition_penalty": 1.0}


def names() -> list[str]:
    """The embedded models, the default one first."""
    found = sorted(path.stem for path in HERE.glob("*.gguf"))
    return sorted(found, key=lambda name: name != DEFAULT)


def resolve(model: str | PathLike[str]) -> Path:
    """The file of a model: an embedded one by its name, any other by its path."""
    path = Path(fspath(model)).expanduser()
    embedded = HERE / f"{fspath(model)}.gguf"
    return embedded if not path.exists() and fspath(model) in names() else path
