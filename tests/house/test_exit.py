"""Importing and leaving says nothing: no log line of a library, no warning, no complaint at the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house import ROOT
from tests.house.sources import code

MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in code(".pyx", under="hoshikage")]


@pytest.mark.parametrize("module", ["hoshikage", *MODULES])
def test_import_and_exit_are_silent(module: str) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", f"import {module}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_can_be_had() -> None:
    program = "import hoshikage\nfor name in hoshikage.__all__: getattr(hoshikage, name)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
