"""The page on clients: its commands work, and its addresses are those of routes that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from hoshikage.server.app import lines
from tests.house import ROOT
from tests.server.conftest import Server

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:3030"
INTERPRETERS = {"sh": ["sh", "-ec"], "py": [sys.executable, "-c"]}
EXAMPLES = re.findall(r"^```(sh|py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_its_addresses_lead_somewhere() -> None:
    paths = {path for _, path, *_ in lines()}
    said = set(re.findall(r"`(/[\w/.]+)`", PAGE)) | set(re.findall(rf"{HERE}(/[\w/]+)", PAGE))
    assert said - paths <= {"/v1", "/api/diffusion"}


def test_its_settings_of_continue_are_yaml() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert {model["apiBase"] for model in yaml.safe_load(block)["models"]} == {f"{HERE}/v1"}


@pytest.mark.parametrize(("language", "program"), EXAMPLES, ids=lambda text: str(text)[:40])
def test_its_examples_work(server: Server, language: str, program: str) -> None:
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = [*INTERPRETERS[language], program.replace(HERE, server.url)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    assert done.stdout and '"error":{' not in done.stdout
