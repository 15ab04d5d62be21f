"""What a machine needs before anything can be built, named as Debian names it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sysconfig
import tomllib
from pathlib import Path

from pin import PinError

TOOLS = ("cmake", "ninja")
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def check_machine(with_venv: bool = False) -> None:
    """Raises PinError with every missing thing and its package."""
    missing = []
    for what, variable, default in (("a C compiler", "CC", "cc"), ("a C++ compiler", "CXX", "c++")):
        command = program_of(variable, default)
        if shutil.which(command) is None:
            missing.append((f"{what} ({command})", "build-essential"))
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        missing.append(("the headers of Python (Python.h)", "python3-dev"))
    if with_venv and any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        missing.append(("virtual environments (venv, ensurepip)", "python3-venv"))
    if missing:
        packages = " ".join(dict.fromkeys(package for _, package in missing))
        raise PinError(
            f"missing on this machine: {', '.join(what for what, _ in missing)}. "
            f"On Debian and Ubuntu: apt install {packages}. Then run the same command again."
        )


def program_of(variable: str, default: str) -> str:
    """The compiler that the environment names."""
    said = os.environ.get(variable, "")
    try:
        return (shlex.split(said) or [default])[0]
    except ValueError as error:
        raise PinError(f"{variable} is {said!r}, which is no command ({error}). Correct it, or unset it.") from None


def missing_tools() -> list[str]:
    """Those build tools that have to come from the package index, because the system has none."""
    return [name for name in TOOLS if shutil.which(name) is None]


def jobs() -> int:
    """Compilers at once: as many as there are cores, unless somebody knows that memory is short."""
    said = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")
    return int(said) if said.isdecimal() and int(said) > 0 else os.cpu_count() or 1


def requirements(with_training: bool = False) -> list[str]:
    """All that work on the project needs from the package index: to run it, to build it, to test it."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    building, running = project["build-system"]["requires"], project["project"]["dependencies"]
    optional = project["project"]["optional-dependencies"]
    training = optional["train"] if with_training else []
    return [*building, *running, *optional["dev"], *training, *missing_tools()]
