"""Tests of the training; they need the `train` extra and are run by `make test-train`, not by `make test`."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

collect_ignore_glob = ["test_*.py"] if find_spec("torch") is None else []


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    from training import tokenizer as vocabulary

    return vocabulary.load()


@contextmanager
def no_room(n_bytes: int) -> Iterator[None]:
    """No file of this process may have more bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def served_logits(path: Path, ids: list[int]) -> NDArray[np.float32]:
    """What the engine makes of a file: (position, vocabulary)."""
    core = pytest.importorskip("hoshikage._core", reason="the engine is not built: run `make build`")
    block = pytest.importorskip("hoshikage._block")
    with core.Model(str(path)) as model:
        kind = block.BlockSession if model.block_length else core.Session
        session = kind(model, n_ctx=64, flash_attn="off", type_k="f32", type_v="f32")
        rows: NDArray[np.float32] = session.logits(np.array([ids], np.int32))[0]
        session.close()
    return rows
