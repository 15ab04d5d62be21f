"""A process that holds a manager and nothing else: what it weighs, that it sleeps, and that everything comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TinyModel
from tests.house import ROOT
from tests.long import LONG

N_CYCLES = 100 if LONG else 3
RSS_MAX = 60 * 1024  # kB


def hosted(folder: Path, *words: object) -> Any:
    command = [sys.executable, "-m", "tests.host", str(folder), *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_with_nothing_loaded_it_is_small_and_sleeps(tmp_path: Path) -> None:
    found = hosted(tmp_path, "rest")
    assert found["rss"] <= RSS_MAX
    assert found["loaded"] == []
    assert str(found["thread"]) in found["before"]
    assert found["after"] == found["before"], "a thread woke up although nothing was to be done"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """With a model in it, and a RAM disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        (tmp_path / "ram").symlink_to(disk)
        yield tmp_path


def test_memory_comes_back_after_each_of_many_loads(folder: Path, tiny_model: TinyModel) -> None:
    """Within two hundredths of what it was before the first, in all processes and in the RAM disk."""
    (folder / "a.gguf").symlink_to(tiny_model("llada"))
    start, *looks = hosted(folder, "cycles", N_CYCLES)["seen"]
    assert len(looks) == N_CYCLES
    for look in looks:
        assert look["kB"] <= 1.02 * start["kB"], (start, look)
        assert (look["children"], look["descriptors"]) == (0, start["descriptors"])
        assert look["staged"] > 0
        assert look["in_ram"] == 0
