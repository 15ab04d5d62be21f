"""What is pinned, where its parts lie, and the one exception of these tools."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


class PinError(Exception):
    """Why the pinned llama.cpp cannot be had or built, and what to do about it."""


@dataclass(frozen=True)
class Pin:
    """`pin.toml`, plus the folder in which everything that belongs to it is kept."""

    project: str
    release: str
    archive: str
    sha256: str
    inside: str
    commit: str
    keep: tuple[str, ...]
    leave: tuple[str, ...]
    pack: tuple[str, ...]
    server: tuple[str, ...] = ()
    home: Path = field(default=HERE)

    @property
    def cached_archive(self) -> Path:
        return self.home / "cache" / self.archive

    @property
    def source(self) -> Path:
        return self.home / "src"

    @property
    def mark(self) -> str:
        """Written into every tree that came out of the archive, to tell it from somebody's own."""
        return "\n".join([self.sha256, *self.keep, "without", *self.leave])

    @property
    def build(self) -> Path:
        return self.home / "build"


def read_pin(home: Path = HERE) -> Pin:
    """Reads the pin file in `home`."""
    values = tomllib.loads((home / "pin.toml").read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Pin(**(values | lists), home=home)


def say(text: str) -> None:
    """Tells the person at the terminal what is going on."""
    print(f"hoshikage: {text}", flush=True)
