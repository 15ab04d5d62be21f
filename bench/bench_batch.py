"""Are eight diffusion requests at once as fast as one after the other, and are the short ones done first?

    pytest bench/bench_batch.py -s

Eight prompts of 32 tokens, and eight of 256, with answers of 1 to 8, the whole canvas and a block alone, on a file with
LLaDA's shape and random weights (one token a pass where a rule would settle several: random weights are sure of
nothing). Both ways take turns, and who begins; the medians of their total times are compared.

What canvases share is the reading of the weights, which is worth much to short ones and nothing to those that keep a
processor busy alone. What it costs is attention: they lie in one cache, and llama.cpp goes through the mask of all its
cells for each row to find those that the row sees. So long canvases, computed whole as all are in their first pass,
share no pass: nearly all passes are the very same in both ways, and 3 % are what such times differ by.
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

LENGTHS = {32: (8, 4, 6, 4, 8, 4, 6, 4), 256: (3, 1, 2, 1, 3, 1, 2, 1)}  # of the answers, by that of their prompts
N_AT_ONCE, N_ROUNDS, SAME = 8, 4, 0.97
WAYS: dict[str, dict[str, Any]] = {
    "exact": {"plan": "full"},
    "dual": {"plan": "dual", "algorithm": "threshold"},
}
ROWS_TOGETHER = 256  # of several canvases in a pass, see hoshikage/_core.pyx
COMMAND = "pytest bench/bench_batch.py -s"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with hoshikage.load(model("llada-0.4b", LLADA_SMALL), n_seq=N_AT_ONCE, n_ctx=512) as engine:
        engine.get_ready()
        yield engine


def answers(engine: Engine, n_prompt: int, options: dict[str, Any]) -> list[Any]:
    return [
        engine.answer(i, [(37 * k + i) % 120_000 for k in range(n_prompt)],
                      {**options, "max_tokens": n, "early_stop": False, "seed": 1})
        for i, n in enumerate(LENGTHS[n_prompt])
    ]  # fmt: skip


def one_after_the_other(engine: Engine, work: list[Any]) -> float:
    start = perf_counter()
    for answer in work:
        run(engine, [answer])
    return perf_counter() - start


def at_once(engine: Engine, work: list[Any]) -> tuple[float, list[int]]:
    start = perf_counter()
    ended = run(engine, work)
    return perf_counter() - start, ended


def run(engine: Engine, work: list[Any]) -> list[int]:
    """The numbers of the answers, in the order of their ends."""
    desk, board, ended = engine.desk(n_expected=N_AT_ONCE), hoshikage.Board(), []
    for answer in work:
        desk.join(answer)
    while desk.busy:
        ended += [news.answer.index for news in desk.step(board) if news.result is not None]
    return ended


@pytest.mark.parametrize("n_prompt", LENGTHS)
@pytest.mark.parametrize("name", WAYS)
def test_eight_at_once(engine: Engine, name: str, n_prompt: int) -> None:
    options, lengths = WAYS[name], LENGTHS[n_prompt]
    run(engine, answers(engine, n_prompt, options))  # the session is opened for all of them
    alone, together = [], []
    for number in range(N_ROUNDS):
        for is_alone in (number % 2 == 0, number % 2 == 1):
            work = answers(engine, n_prompt, options)
            if is_alone:
                alone.append(one_after_the_other(engine, work))
                continue
            seconds, ended = at_once(engine, work)
            together.append(seconds)
            assert [lengths[i] for i in ended] == sorted(lengths), "the short ones come first"
        print(f"{name}, prompts of {n_prompt}: one after the other {alone[-1]:.2f} s, at once {together[-1]:.2f} s")
    ratio, shares = median(alone) / median(together), n_prompt < ROWS_TOGETHER
    record(
        f"eight requests one after the other against all at once, {name}, prompts of {n_prompt}", ratio, "times",
        asked="at least 1" if shares else f"as long: at least {SAME}",
        detail=f"llada-0.4b, {median(alone):.2f} and {median(together):.2f} s, {usable_cores()} threads",
        command=COMMAND,
    )  # fmt: skip
    assert ratio >= (1 if shares else SAME)
