"""The first request of the README, as it stands there, against a server."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.house import ROOT
from tests.server.conftest import Server

README = (ROOT / "README.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:3030"
INTERPRETERS = {"sh": ["sh", "-c"], "py": [sys.executable, "-c"]}


@pytest.mark.parametrize("language", INTERPRETERS)
def test_the_first_request_is_answered_rightly(language: str, server: Server) -> None:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert HERE in block
    done = subprocess.run(
        [*INTERPRETERS[language], block.replace(HERE, server.url)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"12\+35=(\d+)", done.stdout) == ["47"]
