"""What the pages show is run: their Python blocks, and their lines that call the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import TinyModel
from tests.house import ROOT
from tests.tiny import CHAT_TEMPLATE

# What the page on clients shows needs their packages: `tests/clients` runs it.
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "clients.md")]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TO_A_SERVER = re.compile(r"hoshikage (status|ps|stop)|--url")
ADDRESS = "http://127.0.0.1:3030"
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
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "HOME": str(folder),
        "HOSHIKAGE_THREADS": "1",  # the threads of a tiny model wait longer than they work
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(folder),
    }


def run(words: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(folder) | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server's address."""
    command = [sys.executable, "-m", "hoshikage", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            yield server.stderr.readline().split()[-1]
        finally:
            server.terminate()


@pytest.mark.parametrize("page", sorted({name for name, _ in examples(PYTHON)}))
def test_python_examples_run(page: str, folder: Path) -> None:
    program = "\n".join(code for name, code in examples(PYTHON) if name == page)
    done = run([sys.executable, "-c", program], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("line", [line for _, line in examples(COMMAND)])
def test_command_lines_work(line: str, folder: Path) -> None:
    if not TO_A_SERVER.search(line):
        done = run(["sh", "-c", line], folder)
    else:
        if "stop llada" in line:
            assert run(["hoshikage", "add", "model.gguf", "llada"], folder).returncode == 0
        with serving(folder) as url:
            line = line.replace(ADDRESS, url).replace("/models/llada.gguf", str(folder / "model.gguf"))
            done = run(["sh", "-c", line], folder, PORT=url.rpartition(":")[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or ">" in line


def test_examples_are_found() -> None:
    assert {name for name, _ in examples(PYTHON)} >= {"README.md", "python.md"}
    assert {name for name, _ in examples(COMMAND)} >= {"README.md", "decoding.md", "terminal.md"}
