"""How much faster are answers when a plan leaves a part of the canvas to the cache?

    pytest bench/bench_plans.py -s

On a file with LLaDA's shape and random weights: prompt 128, canvas of 256 new tokens in blocks of 32, one token a pass,
so that every plan takes as many passes; warm-up passes, scoring and bookkeeping are counted, the load is not. The plans
take turns; medians are compared. `full` and llama-diffusion-cli cost the same in every pass and run only a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from bench.peers import diffusion_cli
from bench.results import record
from bench.shapes import LLADA_SMALL, model
from hoshikage._context import usable_cores
from hoshikage._core import Canvas, Model, Session
from hoshikage._raw import fault_of_block_passes
from hoshikage.strategies import make_edits, make_plan, make_rule, make_schedule

N_PROMPT, N_NEW, BLOCK = 128, 256, 32
N_ROUNDS = 3
N_FULL = 4  # passes: each costs the same
CACHED = ("prefix", "window", "dual", "vicinity")
ASKED_OF_CLI = {"window": 5.0, "dual": 7.0}
COMMAND = "pytest bench/bench_plans.py -s"


@pytest.fixture(scope="module")
def path() -> Path:
    return model("llada-0.4b", LLADA_SMALL)


@pytest.fixture(scope="module")
def session(path: Path) -> Iterator[Session]:
    with Model(path) as weights, Session(weights, n_ctx=N_PROMPT + N_NEW, n_rows=BLOCK) as session:
        assert fault_of_block_passes(session) is None
        yield session


def seconds_per_pass(session: Session, plan: str, n_passes: int) -> float:
    """Of the first passes of an answer: two whole blocks, when there are enough of them."""
    weights = session.forward.model
    prompt = [(37 * i + 11) % 120_000 for i in range(N_PROMPT)]
    canvas = Canvas(
        prompt + [weights.mask_id] * N_NEW, mask_id=weights.mask_id, steps=N_NEW, block_length=BLOCK,
        rule=make_rule("low_confidence"), schedule=make_schedule("adaptive"), edits=make_edits(weights.mask_id),
        plan=make_plan(plan),
    )  # fmt: skip
    session.add(canvas)
    start = perf_counter()
    session.run(max_steps=n_passes)
    seconds = perf_counter() - start
    assert canvas.n_passes == n_passes
    session.remove(canvas)
    return seconds / n_passes


@pytest.fixture(scope="module")
def times(session: Session) -> dict[str, list[float]]:
    """Seconds of a pass under each plan, in rounds."""
    taken: dict[str, list[float]] = {plan: [] for plan in ("full", *CACHED)}
    for _ in range(N_ROUNDS):
        taken["full"].append(seconds_per_pass(session, "full", N_FULL))
        for plan in CACHED:
            taken[plan].append(seconds_per_pass(session, plan, 2 * BLOCK))
        print("  ".join(f"{plan} {1000 * each[-1]:.0f} ms" for plan, each in taken.items()))
    return taken


def test_plans_against_the_whole_canvas(times: dict[str, list[float]]) -> None:
    whole = median(times["full"])
    for plan in CACHED:
        ratio = whole / median(times[plan])
        record(
            f"{plan} plan against the whole canvas", ratio, "times the tokens/s", asked="no figure",
            detail=f"{1000 * median(times[plan]):.0f} and {1000 * whole:.0f} ms a pass, {usable_cores()} threads",
            command=COMMAND,
        )  # fmt: skip
        assert ratio > 1


def test_plans_against_the_example(path: Path, times: dict[str, list[float]]) -> None:
    n_threads = usable_cores()
    theirs = median(
        diffusion_cli(path, N_PROMPT + N_NEW, BLOCK, (N_PROMPT + N_NEW) // BLOCK, n_threads)[0] for _ in range(N_ROUNDS)
    )
    for plan, asked in ASKED_OF_CLI.items():
        ratio = theirs / median(times[plan])
        record(
            f"{plan} plan against llama-diffusion-cli", ratio, "times the tokens/s", asked=f"{asked:g}",
            detail=f"{1000 * median(times[plan]):.0f} and {1000 * theirs:.0f} ms a pass, {n_threads} threads",
            command=COMMAND,
        )  # fmt: skip
        assert ratio >= asked
