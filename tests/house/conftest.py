"""A fake pin per test, and pip told to look into a folder and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pin import Pin

from tests.house.fakepin import STEM, make_archive, make_pin


class Index:
    """What pip can find."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"{STEM}.tar.gz"
        folder.mkdir()

    def offer(self, archive: bytes) -> None:
        self.file.write_bytes(archive)

    def go_offline(self) -> None:
        self.file.unlink()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index(tmp_path / "index")
    index.offer(make_archive())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.file.parent))
    for name in ("HOSHIKAGE_LLAMA_CPP", "CMAKE_ARGS"):
        monkeypatch.delenv(name, raising=False)
    return index


@pytest.fixture
def pin(tmp_path: Path, index: Index) -> Pin:  # noqa: ARG001 - the pin is only of use with its index
    return make_pin(tmp_path / "llama.cpp", make_archive())
