"""The C layer as a library of its own, built once per session."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from .toolchain import ISAS, Builder, load


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("csrc"))


@pytest.fixture(scope="session")
def library(builder: Builder) -> ctypes.CDLL:
    return load(builder.library())


@pytest.fixture(scope="module", params=ISAS)
def csrc(library: ctypes.CDLL, request: pytest.FixtureRequest) -> Iterator[ctypes.CDLL]:
    """The library with each instruction set that this machine has."""
    if library.isa_choose(request.param.encode()) != 0:
        pytest.skip(f"this machine has no {request.param}")
    assert library.isa_name() == request.param.encode()
    yield library
    library.isa_choose(None)
