"""Are eight diffusion requests at once as fast as one after the other, and are the short ones done first?

    pytest bench/bench_batch.py -s

Eight prompts of 32 tokens with answers of 4 to 8, the whole canvas and a block alone, on a file with LLaDA's shape and
random weights (one token a pass where a rule would settle several: random weights are sure of nothing). Both ways take
turns; the medians of their total times are compared.

Whole canvases side by side share one cache, and a row's attention runs over all of it. With prompts of 128 tokens that
makes up for what they share; with 256 it costs 12 to 17 % more than one after the other, on two threads of a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

import pytest

import hoshikage
from bench.results import record
from bench.shapes import LLADA_SMALL, model
from hoshikage._context import usable_cores
from hoshikage.engine.engine import Engine

LENGTHS = (8, 4, 6, 4, 8, 4, 6, 4)
N_PROMPT, N_ROUNDS = 32, 2
WAYS: dict[str, dict[str, Any]] = {
    "exact": {"plan": "full"},
    "dual": {"plan": "dual", "algorithm": "threshold"},
}
COMMAND = "pytest bench/bench_batch.py -s"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with hoshikage.load(model("llada-0.4b", LLADA_SMALL), n_seq=len(LENGTHS), n_ctx=512) as engine:
        engine.get_ready()
        yield engine


def answers(engine: Engine, options: dict[str, Any]) -> list[Any]:
    return [
        engine.answer(i, [(37 * k + i) % 120_000 for k in range(N_PROMPT)],
                      {**options, "max_tokens": n, "early_stop": False, "seed": 1})
        for i, n in enumerate(LENGTHS)
    ]  # fmt: skip


def one_after_the_other(engine: Engine, options: dict[str, Any]) -> float:
    start = perf_counter()
    for answer in answers(engine, options):
        run(engine, [answer])
    return perf_counter() - start


def at_once(engine: Engine, options: dict[str, Any]) -> tuple[float, list[int]]:
    start = perf_counter()
    ended = run(engine, answers(engine, options))
    return perf_counter() - start, ended


def run(engine: Engine, work: list[Any]) -> list[int]:
    """The numbers of the answers, in the order of their ends."""
    desk, board, ended = engine.desk(n_expected=len(LENGTHS)), hoshikage.Board(), []
    for answer in work:
        desk.join(answer)
    while desk.busy:
        ended += [news.answer.index for news in desk.step(board) if news.result is not None]
    return ended


@pytest.mark.parametrize("name", WAYS)
def test_eight_at_once(engine: Engine, name: str) -> None:
    options = WAYS[name]
    run(engine, answers(engine, options))  # the session is opened for all of them
    alone, together = [], []
    for _ in range(N_ROUNDS):
        alone.append(one_after_the_other(engine, options))
        seconds, ended = at_once(engine, options)
        together.append(seconds)
        print(f"{name}: one after the other {alone[-1]:.2f} s, at once {seconds:.2f} s")
        assert [LENGTHS[i] for i in ended] == sorted(LENGTHS), "the short ones come first"
    ratio = median(alone) / median(together)
    record(
        f"eight requests one after the other against all at once, {name}", ratio, "times", asked="at least 1",
        detail=f"llada-0.4b, {median(alone):.2f} and {median(together):.2f} s, {usable_cores()} threads",
        command=COMMAND,
    )  # fmt: skip
    assert ratio >= 1
