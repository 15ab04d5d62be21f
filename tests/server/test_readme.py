"""The requests of the README, as they stand there, against a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.house import ROOT
from tests.server.conftest import Server

README = (ROOT / "README.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:3030"
INTERPRETERS = {"sh": ["sh", "-c"], "py": [sys.executable, "-c"]}


def answer(language: str, code: str, server: Server) -> str:
    """What a reader sees who runs it."""
    assert HERE in code
    done = subprocess.run(
        [*INTERPRETERS[language], code.replace(HERE, server.url)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("language", INTERPRETERS)
def test_the_first_request_is_answered_rightly(language: str, server: Server) -> None:
    assert re.findall(r"12\+35=(\d+)", answer(language, blocks(language)[0], server)) == ["47"]


def test_a_diffusion_model_keeps_to_the_form(server: Server) -> None:
    first, form = blocks("py")
    said = answer("py", f"{first}\nprint()\n{form}", server).splitlines()[-1]
    assert json.loads(said) == {"name": "Leo", "age": 34}
