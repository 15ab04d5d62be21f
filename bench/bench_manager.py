"""What does the manager add between a request and the model that is there for it?

    pytest bench/bench_manager.py -s

The same requests to the same worker process with a model made of a hash, straight and through a manager, in turn; and
in this process. The quickest round counts, for whatever else a machine does only adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import pytest

from bench.results import record
from hoshikage.engine.engine import Engine
from hoshikage.manager.job import Job
from hoshikage.manager.manager import Manager
from hoshikage.worker.ask import Ask, Done, Failed, Said
from hoshikage.worker.fake import FakeSpeaker
from tests.managers import comes, managing, map_of

N_ROUNDS = 100
COMMAND = "pytest bench/bench_manager.py -s"
OPTIONS: dict[str, Any] = {"max_tokens": 8, "block_length": 1, "early_stop": False, "seed": 1}
ASK = Ask(kind="generate", body={"prompts": ["hello"], "options": OPTIONS}, watch="canvas")


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    """One that has a model in memory, among as many registered ones as people have."""
    folder: Path = tmp_path_factory.mktemp("models")
    labels = " ".join(["a", *(f"other-{i}" for i in range(50))])
    with managing(map_of(folder, labels), idle_timeout=0) as made:
        first_step(lambda tell: made.submit(Job(model="a", ask=ASK), tell))
        comes(made, "a", lambda state: state.state == "resident" and not state.n_active)
        yield made


def first_step(ask: Callable[[Callable[[Any], None]], object]) -> float:
    """Seconds from asking to the word about the first step, which was begun before."""
    times: list[float] = []
    over = Event()

    def tell(event: Any) -> None:
        if isinstance(event, Said):
            times.append(perf_counter())
        elif isinstance(event, (Done, Failed)):
            assert isinstance(event, Done), event
            over.set()

    start = perf_counter()
    ask(tell)
    assert over.wait(60)
    return times[0] - start


def here(engine: Engine) -> float:
    start = perf_counter()
    snapshots = engine.generate("hello", stream=True, **OPTIONS)
    next(snapshots)
    first = perf_counter() - start
    for _ in snapshots:
        continue
    return first


def test_the_first_pass_of_a_resident_model_begins_soon(manager: Manager) -> None:
    worker = manager._steward.keeper.places["a"].loaded.worker  # type: ignore[union-attr]
    with Engine(FakeSpeaker(salt=5)) as engine:
        rounds = [
            (
                first_step(lambda tell: manager.submit(Job(model="a", ask=ASK), tell)),
                first_step(lambda tell: worker.ask(ASK, tell)),
                here(engine),
            )
            for _ in range(N_ROUNDS)
        ]
    managed, straight, own = (1000 * min(column) for column in zip(*rounds, strict=True))
    record(
        "first step of a resident model through the manager, later than in this process", managed - own, "ms",
        asked="at most 5",
        detail=f"{managed:.2f} ms; straight to the worker {straight:.2f}, in this process {own:.2f}; 51 models",
        command=COMMAND,
    )  # fmt: skip
    assert managed - own < 5


def test_a_thousand_wait_and_the_next_is_handed_over_soon(tmp_path: Path) -> None:
    """What the manager computes for each request when the line is long, against the same number one by one."""
    counts: dict[int, float] = {}
    for n in (10, 1000):
        with managing(map_of(tmp_path, "a"), n_seq=1, max_waiting=n, max_wait=600) as manager:
            first_step(lambda tell, manager=manager: manager.submit(Job(model="a", ask=ASK), tell))
            counts[n] = crowd(manager, n) / n
    record(
        "a request when a thousand wait, against when ten wait", counts[1000] / counts[10], "times as long",
        asked="at most 3", detail=f"{1000 * counts[1000]:.2f} and {1000 * counts[10]:.2f} ms each", command=COMMAND,
    )  # fmt: skip
    assert counts[1000] < 3 * counts[10]


def crowd(manager: Manager, n: int) -> float:
    """Seconds for so many who come at once."""
    ask = Ask(kind="generate", body={"prompts": ["a"], "options": {"max_tokens": 1}})
    ends = [Event() for _ in range(n)]
    start = perf_counter()
    for end in ends:
        manager.submit(Job(model="a", ask=ask), lambda event, end=end: isinstance(event, Done) and end.set())
    for end in ends:
        assert end.wait(120)
    return perf_counter() - start
