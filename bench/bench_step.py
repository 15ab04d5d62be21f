"""How long is a step of exact decoding, next to llama-diffusion-cli on the same file and positions?

    pytest bench/bench_step.py -s

Both decode a whole canvas of 384 positions in blocks of 32, a step each, scoring included, model load excluded: ours at
temperature 0, theirs as it samples by itself. (Without its top-k it would sort the whole vocabulary for its top-p, and
we would look the better for it.) The runs alternate; the medians are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from bench.bench_plans import share_beside_passes
from bench.peers import diffusion_cli
from bench.results import record
from bench.shapes import LLADA_SMALL, model
from hoshikage._context import usable_cores
from hoshikage._core import Canvas, Model, Session
from hoshikage.strategies import make_edits, make_rule, make_schedule

N_POSITIONS, BLOCK, N_STEPS, N_ROUNDS = 384, 32, 12, 3
COMMAND = "pytest bench/bench_step.py -s"


@pytest.fixture(scope="module")
def path() -> Path:
    return model("llada-0.4b", LLADA_SMALL)


@pytest.fixture(scope="module")
def session(path: Path) -> Iterator[Session]:
    with Model(path) as weights, Session(weights, n_ctx=N_POSITIONS, n_rows=BLOCK) as session:
        yield session


def decode(session: Session) -> float:
    """Seconds per step."""
    weights = session.forward.model
    tokens = weights.tokenize("hello")
    canvas = Canvas(
        tokens + [weights.mask_id] * (N_POSITIONS - len(tokens)), mask_id=weights.mask_id, steps=N_STEPS,
        rule=make_rule("low_confidence"), schedule=make_schedule("block"), edits=make_edits(weights.mask_id),
        block_length=BLOCK,
    )  # fmt: skip
    session.add(canvas)
    start = perf_counter()
    while not canvas.done:
        session.run()
    return (perf_counter() - start) / canvas.n_passes


def test_step_against_the_example(path: Path, session: Session) -> None:
    n_threads = usable_cores()
    ours, theirs, sampling = [], [], []
    for _ in range(N_ROUNDS):
        ours.append(decode(session))
        step, sample = diffusion_cli(path, N_POSITIONS, BLOCK, N_STEPS, n_threads)
        theirs.append(step)
        sampling.append(sample)
        print(f"ours {ours[-1]:.3f} s a step, llama-diffusion-cli {step:.3f} s, of which sampling {sample:.3f} s")
    record(
        "exact step against llama-diffusion-cli", median(theirs) / median(ours), "times faster", asked="1.3",
        detail=f"medians {median(ours):.3f} and {median(theirs):.3f} s (sampling {median(sampling):.3f}), "
        f"{n_threads} threads",
        command=COMMAND,
    )  # fmt: skip
    assert median(theirs) / median(ours) >= 1.3


def test_share_of_scoring(session: Session) -> None:
    before = session.step_seconds, session.forward_seconds
    decode(session)
    step = session.step_seconds - before[0]
    share = share_beside_passes(session, before)
    record(
        "scoring and bookkeeping at temperature 0", share, "% of a step", asked="at most 5",
        detail=f"{10 * share * step / N_STEPS:.2f} ms of {1000 * step / N_STEPS:.0f} ms, "
        f"{BLOCK} rows of 126,464 at most",
        command=COMMAND,
    )  # fmt: skip
    assert share <= 5
