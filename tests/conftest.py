"""Shared by all tests: hypothesis profiles, and the tiny models, each written once per session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.tiny import Shape, write

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=50)
settings.load_profile("quick")

TinyModel = Callable[..., Path]

# Tests start hundreds of processes of ours, and each would compile all modules anew where the environment forbids to
# keep what was compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A GPU's matrix products are rounded to fewer bits, and much here is compared bit by bit.
if not os.environ.get("HOSHIKAGE_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is measured of models made up here is of no use to the person at home."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """`tiny_model(architecture, **shape)`: the path of that tiny GGUF. Shared by all tests: do not change the file."""
    folder = tmp_path_factory.mktemp("tiny")
    written: dict[str, Path] = {}

    def path(architecture: str = "llada", **options: Any) -> Path:
        shape = Shape(architecture, **options)
        if repr(shape) not in written:
            written[repr(shape)] = write(folder / f"{len(written):03d}-{architecture}.gguf", shape)
        return written[repr(shape)]

    return path
