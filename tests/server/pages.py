"""The pages of docs/ whose examples are run against a server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.house import ROOT
from tests.server.conftest import Server

HERE = "http://127.0.0.1:3030"  # where the pages say that the server is
INTERPRETERS = {"sh": ["sh", "-ec"], "py": [sys.executable, "-c"]}


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def examples_of(text: str) -> list[tuple[str, str]]:
    """The blocks that are run: their languages and what stands in them."""
    return re.findall(r"^```(sh|py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def said_by(server: Server, language: str, program: str) -> str:
    """What an example prints; it has to come to its end."""
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = [*INTERPRETERS[language], program.replace(HERE, server.url)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout
