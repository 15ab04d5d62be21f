"""How much faster are answers when a plan leaves a part of the canvas to the cache?

    pytest bench/bench_plans.py -s                       the first of eight blocks
    BENCH_BLOCKS=8 pytest bench/bench_plans.py -s        all 256 passes, some 8 minutes a round

On a file with LLaDA's shape and random weights: prompt 128, 256 new tokens in blocks of 32, one of them a pass, 256
passes on all sides; warm-up passes, scoring and bookkeeping are counted, the load is not. llama-diffusion-cli has the
same blocks, a prompt as long, and samples as it does by itself. A block's 32 passes are timed, of it and of the plans
that a figure is asked for: the eight blocks of an answer cost the same but for our warm passes, which are counted as
often as they come. All take turns in each round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from time import perf_counter

import pytest

from bench.peers import diffusion_cli_passes
from bench.results import record
from bench.shapes import LLADA_SMALL, model
from hoshikage._context import usable_cores
from hoshikage._core import Canvas, Model, Session
from hoshikage._raw import fault_of_block_passes
from hoshikage.strategies import make_edits, make_plan, make_rule, make_schedule

N_PROMPT, N_NEW, BLOCK = 128, 256, 32
N_ROUNDS = 3
N_PASSES = BLOCK * int(os.environ.get("BENCH_BLOCKS", "1"))  # timed in each round
N_FEWER = {"full": 4, "prefix": 8}  # of slow plans that no figure is asked for
# Warm passes of 256: one at the start of each block, and where a plan warms up. The window's later ones compute less
# than its first, which is the one that is timed.
N_WARM = {"full": N_NEW, "prefix": 8, "window": 8, "dual": 8, "vicinity": 11}
CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"  # the CLI's, as the file has no template
ASKED_OF_CLI = {"full": None, "prefix": None, "window": 5.0, "dual": 7.0, "vicinity": None}
COMMAND = "pytest bench/bench_plans.py -s"


@pytest.fixture(scope="module")
def path() -> Path:
    return model("llada-0.4b", LLADA_SMALL)


@pytest.fixture(scope="module")
def session(path: Path) -> Iterator[Session]:
    with Model(path) as weights, session_of(weights) as session:
        assert fault_of_block_passes(session) is None
        yield session


def session_of(weights: Model) -> Session:
    """Room for one answer."""
    return Session(weights, n_ctx=N_PROMPT + N_NEW, n_rows=BLOCK)


def seconds_per_pass(session: Session, plan: str) -> float:
    """The mean of the 256 passes of an answer."""
    weights = session.forward.model
    prompt = [(37 * i + 11) % 120_000 for i in range(N_PROMPT)]
    canvas = Canvas(
        prompt + [weights.mask_id] * N_NEW, mask_id=weights.mask_id, steps=N_NEW, block_length=BLOCK,
        rule=make_rule("low_confidence"), schedule=make_schedule("adaptive"), edits=make_edits(weights.mask_id),
        plan=make_plan(plan),
    )  # fmt: skip
    session.add(canvas)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(N_FEWER.get(plan, N_PASSES)):
        start = perf_counter()
        session.run(max_steps=1)
        seconds[canvas.warm].append(perf_counter() - start)
    if not canvas.done:
        session.remove(canvas)
    warm, cold = mean(seconds[True]), mean(seconds[False] or [0.0])
    return (N_WARM[plan] * warm + (N_NEW - N_WARM[plan]) * cold) / N_NEW


def share_beside_passes(session: Session, before: tuple[float, float] = (0.0, 0.0)) -> float:
    """What of the steps since then was no pass, in percent: scoring and bookkeeping."""
    step, forward = session.step_seconds - before[0], session.forward_seconds - before[1]
    return 100 * (step - forward) / step


def text_of_prompt(weights: Model) -> str:
    """What the CLI makes a prompt as long as ours of."""
    around = weights.tokenize(CHATML.format(""), add_special=True, parse_special=True)
    text = "x" * (N_PROMPT - len(around))
    assert len(weights.tokenize(CHATML.format(text), add_special=True, parse_special=True)) == N_PROMPT
    return text


def seconds_per_pass_of_cli(path: Path, prompt: str, *more: str, first: int = 0) -> float:
    """The mean of as many passes of its own, which settle and sample as many tokens as ours."""
    n_positions = N_PROMPT + N_NEW
    return diffusion_cli_passes(path, n_positions, BLOCK, N_PASSES, usable_cores(), *more, prompt=prompt, first=first)


def test_plans_against_the_example(path: Path, session: Session) -> None:
    prompt = text_of_prompt(session.forward.model)
    taken: dict[str, list[float]] = {plan: [] for plan in (*N_WARM, "the CLI")}
    shares = []
    for _ in range(N_ROUNDS):
        for plan in N_WARM:
            before = session.step_seconds, session.forward_seconds
            taken[plan].append(seconds_per_pass(session, plan))
            if plan == "dual":
                shares.append(share_beside_passes(session, before))
        taken["the CLI"].append(seconds_per_pass_of_cli(path, prompt))
        print("  ".join(f"{plan} {1000 * each[-1]:.0f} ms" for plan, each in taken.items()))
    times = {plan: median(each) for plan, each in taken.items()}
    for plan, asked in ASKED_OF_CLI.items():
        for peer in ("full", "the CLI"):
            record(
                f"{plan} plan against {'the whole canvas' if peer == 'full' else 'llama-diffusion-cli'}",
                times[peer] / times[plan], "times the tokens/s",
                asked=f"{asked:g}" if asked and peer != "full" else "no figure",
                detail=f"{1000 * times[plan]:.0f} and {1000 * times[peer]:.0f} ms a pass, {usable_cores()} threads",
                command=COMMAND,
            )  # fmt: skip
    record(
        "scoring and bookkeeping at temperature 0, dual plan", median(shares), "% of a pass", asked="at most 5",
        detail=f"{BLOCK} rows of 126,464 at most; medians of {N_ROUNDS}", command=COMMAND,
    )  # fmt: skip
    assert median(shares) <= 5
    for plan, asked in ASKED_OF_CLI.items():
        assert asked is None or times["the CLI"] / times[plan] >= asked
