"""The linters, and the stubs against the modules they describe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.house import ROOT
from tests.house.sources import code

# cython-lint looks for pycodestyle on the path.
PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=os.environ | PATH, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_ruff() -> None:
    run("ruff", "check", "--no-cache", ".")


def test_cython_lint() -> None:
    run("cython_lint.cython_lint", *map(str, code(".pyx", ".pxd", under="hoshikage")))


def test_mypy_strict() -> None:
    run("mypy")


def test_stubs_say_what_the_modules_have() -> None:
    stubs = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in code(".pyi", under="hoshikage")]
    built = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in code(".pyx", under="hoshikage")]
    assert sorted(stubs) == sorted(built), "every compiled module has its stub"
    run("mypy.stubtest", "--allowlist", str(Path(__file__).with_name("stubs_leave_out.txt")), *stubs)
