"""The embedded models: small GGUF files that come with the package, each with a card that says what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from hoshikage.envfile import expanded

HERE = Path(__file__).parent
DEFAULT = "nano-llada"
# They copy, count and sort: what makes a large model's prose livelier makes their answers wrong.
SETTINGS: Mapping[str, Any] = {"temperature": 0.0, "repetition_penalty": 1.0}
# Answers are short here: with a window of 8 masks nano-llada answers as well as with 32, 1.8 times as soon.
SHORT_BLOCKS: Mapping[str, Any] = {"block_length": 8, "usual_window": 8}
# Their heads have 32 values. Vectors of AVX-512 hold more, so that llama.cpp's flash attention takes those one by one:
# a pass of 16 rows is 3 times as long as without. A pass of one row, as nano-ar's are, is shorter with it.
SMALL_HEADS: Mapping[str, Any] = {"flash_attn": "off"}
OWN_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    **{name: {**SHORT_BLOCKS, **SMALL_HEADS} for name in ("nano-llada", "nano-dream", "nano-moe")},
    "nano-block": SMALL_HEADS,
}


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
    return files()[fspath(model)] if is_embedded(model) else expanded(fspath(model))


def is_embedded(model: str | PathLike[str]) -> bool:
    """Whether this is a name of ours, and no file."""
    return fspath(model) in files() and not expanded(fspath(model)).exists()


def settings_of(name: str) -> dict[str, Any]:
    """What an embedded model is loaded with where nobody says otherwise."""
    return {**SETTINGS, **OWN_SETTINGS.get(name, {})}
