"""What does it cost that a model is in a process of its own?

    pytest bench/bench_worker.py -s

The same requests to the same model made of a hash, in this process and in a worker, in turn. What the worker takes more
is asking, frames, and waking each other up. Snapshots are counted in the processors' time of both processes, the first
step by the clock; the quickest round of each counts, for whatever else a machine does only adds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import pytest

from bench.results import record
from hoshikage.engine.engine import Engine
from hoshikage.worker.ask import Ask, Done, Failed, Said, Watch
from hoshikage.worker.client import Fake, Worker
from hoshikage.worker.fake import FakeSpeaker

N_STEPS, N_ROUNDS = 256, 40
COMMAND = "pytest bench/bench_worker.py -s"
LETTERS = {token: -1e6 for token in range(259) if not 97 <= token <= 122}  # so that each step writes one
NEVER_ENDS = {0: -1e6, 1: -1e6}  # of nano-ar
OPTIONS: dict[str, Any] = {
    "max_tokens": N_STEPS,
    "block_length": 1,
    "early_stop": False,
    "seed": 1,
    "logit_bias": LETTERS,
}


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Worker, Engine]]:
    worker = Worker("bench")
    worker.load(Fake({}), {"n_threads": 1})
    with Engine(FakeSpeaker()) as engine:
        yield worker, engine
    worker.close()


def asked(worker: Worker, watch: Watch, **options: Any) -> tuple[float, float, int]:
    """Seconds until the first snapshot and until the end, and how many there were."""
    times: list[float] = []
    over = Event()

    def tell(event: Any) -> None:
        if isinstance(event, Said):
            times.append(perf_counter())
        elif isinstance(event, (Done, Failed)):
            over.set()

    start = perf_counter()
    worker.ask(Ask(kind="generate", body={"prompts": ["hello"], "options": options}, watch=watch), tell)
    over.wait()
    return times[0] - start, perf_counter() - start, len(times)


def here(engine: Engine, watch: Watch, **options: Any) -> tuple[float, float]:
    """The same in this process: who watches the canvas wants its cells."""
    start = perf_counter()
    snapshots = engine.generate("hello", stream=True, **options)
    next(snapshots)
    first = perf_counter() - start
    for snapshot in snapshots:
        assert watch != "canvas" or snapshot.cells
    return first, perf_counter() - start


def quickest(*functions: Callable[[], float]) -> list[float]:
    """Of each function's rounds, run in turn."""
    rounds = [[function() for function in functions] for _ in range(N_ROUNDS)]
    return [min(column) for column in zip(*rounds, strict=True)]


def computed(*pids: int) -> float:
    """Seconds that all threads of these processes have computed."""
    threads = [path for pid in pids for path in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((path / "schedstat").read_text().split()[0]) for path in threads) / 1e9


@pytest.mark.parametrize("watch", ["text", "canvas"])
def test_a_snapshot_costs_little_more_than_in_this_process(pair: tuple[Worker, Engine], watch: Watch) -> None:
    worker, engine = pair
    n_snapshots = asked(worker, watch, **OPTIONS)[2]

    def cost(work: Callable[[], object]) -> float:
        start = computed(os.getpid(), worker.pid)
        work()
        return computed(os.getpid(), worker.pid) - start

    there, own = quickest(
        lambda: cost(lambda: asked(worker, watch, **OPTIONS)),
        lambda: cost(lambda: here(engine, watch, **OPTIONS)),
    )
    more = 1000 * (there - own) / n_snapshots
    record(
        f"what a worker's snapshot costs more than one in this process, watch={watch}", more, "ms", asked="at most 0.2",
        detail=f"{n_snapshots} snapshots of a canvas of {N_STEPS}, {1000 * there:.1f} and {1000 * own:.1f} ms",
        command=COMMAND,
    )  # fmt: skip
    assert more < 0.2


def test_the_first_step_of_a_resident_model_comes_soon(pair: tuple[Worker, Engine]) -> None:
    worker, engine = pair
    few = {**OPTIONS, "max_tokens": 8}
    there, own = quickest(
        lambda: asked(worker, "canvas", **few)[0],
        lambda: here(engine, "canvas", **few)[0],
    )
    record(
        "first step of a resident model, later than in this process", 1000 * (there - own), "ms", asked="at most 5",
        detail=f"{1000 * there:.2f} and {1000 * own:.2f} ms", command=COMMAND,
    )  # fmt: skip
    assert 1000 * (there - own) < 5


def test_eight_at_once_take_no_longer_than_one_after_the_other() -> None:
    worker = Worker("bench")
    worker.load("nano-ar", {"n_threads": 1, "n_threads_batch": 1, "n_gpu_layers": 0})
    body = {"options": {"logit_bias": NEVER_ENDS, "temperature": 0.0}}
    lengths = [16 * (i + 1) for i in range(8)]

    def run(at_once: bool) -> tuple[float, list[int]]:
        order: list[int] = []
        start = perf_counter()
        ends = []
        for length in reversed(lengths):  # the long ones come first
            ends.append(ended(worker, {**body, "prompts": ["Add 3 and 4."]}, length, order))
            if not at_once:
                ends[-1].wait()
        for end in ends:
            end.wait()
        return perf_counter() - start, order

    assert run(True)[1] == lengths, "the short ones finish first"
    together, alone = quickest(lambda: run(True)[0], lambda: run(False)[0])
    record(
        "eight requests one after the other against all at once", alone / together, "times", asked="at least 1",
        detail=f"nano-ar, {1000 * alone:.0f} and {1000 * together:.0f} ms, 1 thread", command=COMMAND,
    )  # fmt: skip
    worker.close()
    assert together <= alone


def ended(worker: Worker, body: dict[str, Any], length: int, order: list[int]) -> Event:
    """Ask for so many tokens; the event is set, and the length written down, when they are there."""
    end = Event()

    def tell(event: Any) -> None:
        if isinstance(event, (Done, Failed)):
            assert isinstance(event, Done), event
            order.append(length)
            end.set()

    options = {**body["options"], "max_tokens": length}
    worker.ask(Ask(kind="generate", body={**body, "options": options}), tell)
    return end
