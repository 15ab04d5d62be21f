"""Is it slower than the last time? Timings that pytest-benchmark stores and compares.

    pytest bench/bench_regression.py --benchmark-storage=bench/results/runs --benchmark-save=NAME
    pytest bench/bench_regression.py --benchmark-storage=bench/results/runs --benchmark-compare

A shared machine's times wander; `tests/csrc/test_instructions.py` guards the scan by counting instructions instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hoshikage._core import Canvas, Model, Session
from hoshikage._fake import FakeModel
from hoshikage.strategies import make_edits, make_rule, make_schedule
from tests.tiny import Shape, write


def decode(session: Session, mask_id: int, n_positions: int, **options: Any) -> Canvas:
    """A canvas of eight given tokens, decoded one token a step."""
    canvas = Canvas(
        [1] * 8 + [mask_id] * (n_positions - 8), mask_id=mask_id, steps=n_positions, rule=make_rule("low_confidence"),
        schedule=make_schedule("block"), edits=make_edits(mask_id), **options,
    )  # fmt: skip
    session.add(canvas)
    while not canvas.done:
        session.run()
    return canvas


@pytest.mark.parametrize("n_vocab", [100, 4_000])
def test_loop_on_the_fake_model(benchmark: Any, n_vocab: int) -> None:
    """What the loop itself costs: the fake rows are hashes."""
    model = FakeModel(n_vocab)
    session = Session(model, n_ctx=64, n_rows=8, n_threads=1)
    canvas = benchmark(decode, session, model.mask_id, 24, block_length=8)
    assert canvas.n_passes == 16


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_exact_decoding_of_a_tiny_model(benchmark: Any, tmp_path: Path, temperature: float) -> None:
    path = write(tmp_path / "tiny.gguf", Shape("llada", n_vocab=8_000, n_embd=128, n_ff=256))
    with Model(path) as model, Session(model, n_ctx=256, n_rows=32, n_threads=1) as session:
        canvas = benchmark(decode, session, model.mask_id, 64, block_length=32, temperature=temperature)
        assert canvas.done
