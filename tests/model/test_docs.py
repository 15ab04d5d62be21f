"""What the pages show is run: their Python blocks, and their lines that call the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TinyModel
from tests.house import ROOT
from tests.tiny import CHAT_TEMPLATE

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ {4}((?:[^\n#]* \| )?hoshikage [^\n]*)$", re.MULTILINE)


def examples(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    return [(page.name, found[1]) for page in PAGES for found in pattern.finditer(page.read_text(encoding="utf-8"))]


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A reader's working directory: two models, no settings, and the command on the path."""
    wide_heads = {"n_head": 2, "n_head_kv": 1}  # a quantised cache needs heads of 32
    (tmp_path / "model.gguf").symlink_to(tiny_model("llada", chat_template=CHAT_TEMPLATE, **wide_heads))
    (tmp_path / "causal.gguf").symlink_to(tiny_model("llama", chat_template=CHAT_TEMPLATE))
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "hoshikage"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hoshikage "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return tmp_path


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HOSHIKAGE_THREADS": "1",  # the threads of a tiny model wait longer than they work
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(folder),
    }
    return subprocess.run(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("page", sorted({name for name, _ in examples(PYTHON)}))
def test_python_examples_run(page: str, folder: Path) -> None:
    program = "\n".join(code for name, code in examples(PYTHON) if name == page)
    done = run([sys.executable, "-c", program], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("line", [line for _, line in examples(COMMAND)])
def test_command_lines_work(line: str, folder: Path) -> None:
    done = run(["sh", "-c", line], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_examples_are_found() -> None:
    assert {name for name, _ in examples(PYTHON)} >= {"README.md", "python.md"}
    assert {name for name, _ in examples(COMMAND)} >= {"README.md", "decoding.md", "terminal.md"}
