"""The manager over real worker processes: what dies, what leaves, what comes back, and who notices."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hoshikage.errors import Cancelled, DiedLoading, HoshikageError, LoadStuck, Stopping, TookTooLong, WorkerDied
from hoshikage.manager.loader import Loader
from hoshikage.manager.manager import Manager
from hoshikage.registry import Registry
from hoshikage.settings import Settings
from hoshikage.worker.ask import Answered, Done, Said
from tests.conftest import TinyModel
from tests.long import LONG
from tests.managers import EXACT, PLAN, QUICK, FakeLoad, comes, managing, map_of, state_of, submit
from tests.workers import PATIENCE, Heard, eventually, gone, suspend

N_KILLS = 50 if LONG else 1
ERROR_WITHIN = 1.0 if LONG else PATIENCE  # seconds; a machine that does other work as well may take longer
N_CROWD = 1000 if LONG else 300
N_SWAPS = 20 if LONG else 2


def real(registry: Registry, **settings: Any) -> Any:
    """A manager of real files."""
    chosen = Settings(**{**EXACT, **settings})
    return managing(registry, Loader(chosen), **settings)


def step(heard: Heard) -> None:
    """Wait until an answer is being written."""
    heard.wait(lambda events: any(isinstance(event, Said) for event in events))


def outcome(heard: Heard) -> tuple[str, str]:
    (answer,) = heard.answers()
    assert heard.text() == answer.text
    return answer.text, answer.stop_reason


# -- coming and going


def test_two_requests_for_an_absent_model_are_one_load_and_say_what_one_alone_says(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "a")) as manager:
        told = [submit(manager, "a", "hello")[0] for _ in range(2)]
        assert len({outcome(heard) for heard in told}) == 1
        pid = state_of(manager, "a").pid
        assert manager.pulse().counters["loads"] == 1
        again, _ = submit(manager, "a", "hello")
        assert outcome(again) == outcome(told[0])
        assert state_of(manager, "a").pid == pid
        assert pid is not None
    assert gone(pid)


def test_a_crowd_at_the_instant_of_the_unload(tmp_path: Path) -> None:
    """Hundreds of requests, just when the model that they want begins to leave."""
    with managing(map_of(tmp_path, "a"), n_seq=64, max_waiting=N_CROWD, max_wait=600) as manager:
        submit(manager, "a", keep_alive=0.0)[0].end()
        told = [submit(manager, "a", str(i), max_tokens=1, watch="end")[0] for i in range(N_CROWD)]
        texts = [outcome(heard) for heard in told]
        assert len(set(texts)) > 1
        for heard in told:
            assert sum(isinstance(event, Answered | Done) for event in heard.events) == 2
        assert (manager.pulse().counters["loads"], manager.pulse().counters["deaths"]) == (2, 0)


def test_memory_of_a_model_goes_with_its_process(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "a"), idle_timeout=0.05) as manager:
        submit(manager, "a")[0].end()
        pid = comes(manager, "a", lambda state: state.pid).pid
        assert pid is not None
        assert gone(pid)
        comes(manager, "a", lambda state: state.state == "cold" and state.pid is None)


def test_two_models_in_one_place_take_turns(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "a b"), max_resident=1) as manager:
        for i in range(N_SWAPS):
            first, second = submit(manager, "ab"[i % 2])[0], submit(manager, "ab"[(i + 1) % 2])[0]
            assert first.end()[-1] == second.end()[-1] == Done()
        assert manager.pulse().counters["loads"] <= N_SWAPS + 1


def test_a_load_is_cancelled_by_an_unload(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "a")) as manager:
        heard, _ = submit(manager, "a")
        comes(manager, "a", lambda state: state.state == "loading")
        manager.unload("a")
        assert isinstance(heard.error(), Cancelled)
        comes(manager, "a", lambda state: state.state == "cold")
        assert submit(manager, "a")[0].end()[-1] == Done()


# -- accidents


def test_a_killed_worker_hurts_no_other_and_is_there_again(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "slow-a slow-b"), passes="many", max_time=0) as manager:
        alone = outcome(submit(manager, "slow-b", "steady", max_tokens=60)[0])
        for _ in range(N_KILLS):
            steady, _ = submit(manager, "slow-b", "steady", max_tokens=60)
            victims = [submit(manager, "slow-a", str(i), max_tokens=400)[0] for i in range(3)]
            for heard in victims:
                step(heard)
            pid = state_of(manager, "slow-a").pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            for heard in victims:
                assert isinstance(heard.error(), WorkerDied)
                assert "SIGKILL" in str(heard.error())
            assert time.monotonic() - killed < ERROR_WITHIN
            next_one, _ = submit(manager, "slow-a", max_tokens=1)
            assert next_one.end()[-1] == Done()
            assert outcome(steady) == alone
        assert manager.pulse().counters["deaths"] == N_KILLS


def test_a_worker_that_is_stopped_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "slow-a"), watchdog_timeout=0.5) as manager:
        heard, _ = submit(manager, "slow-a", max_tokens=400)
        step(heard)
        pid = state_of(manager, "slow-a").pid
        assert pid is not None
        suspend(pid)
        assert eventually(lambda: manager.pulse().stuck)
        other, _ = submit(manager, "slow-a", max_tokens=1, time=0.0)
        late, _ = submit(manager, "slow-a", max_tokens=400, time=0.01)
        assert isinstance(late.error(), TookTooLong)
        assert isinstance(heard.error(), WorkerDied)
        assert gone(pid)
        other.end()


def test_a_death_while_loading_is_tried_once_more_with_less(tmp_path: Path) -> None:
    attempts: list[FakeLoad] = []

    class Dying(FakeLoad):
        def run(self) -> Any:
            return self.first_that_loads([PLAN] * 5)

        def attempt(self, *_: Any) -> Any:
            attempts.append(self)
            worker = self._new_worker()
            os.kill(worker.pid, signal.SIGKILL)
            try:
                worker.load(QUICK, {})
            finally:
                worker.close(0.0)

    with managing(map_of(tmp_path, "a"), lambda *given: Dying(*given[:2], None, *given[2:])) as manager:
        heard, _ = submit(manager, "a")
        assert isinstance(heard.error(), DiedLoading)
        assert "most likely out of memory" in str(heard.error())
        assert len(attempts) == 2
        assert state_of(manager, "a").state == "failed"


def test_a_load_whose_process_hangs_is_ended_and_others_come(tmp_path: Path) -> None:
    suspended, ahead = list[int](), [0.0]

    class Hanging(FakeLoad):
        def run(self) -> Any:
            if self._model.label == "b":
                return super().run()
            worker = self._new_worker()
            suspend(worker.pid)
            suspended.append(worker.pid)
            return worker.load(QUICK, {})

    manager = Manager(
        Settings(**{**EXACT, "max_resident": 1}),
        map_of(tmp_path, "a b"),
        new_load=lambda *given: Hanging(*given[:2], None, *given[2:]),
        clock=lambda: time.monotonic() + ahead[0],
    )
    manager.start()
    try:
        hanging, other = submit(manager, "a")[0], submit(manager, "b")[0]
        assert eventually(lambda: suspended)
        ahead[0] = Settings().watchdog_timeout
        manager.unload("b")  # whoever has something to do looks at the clock
        assert isinstance(hanging.error(), LoadStuck)
        assert other.end()[-1] == Done()
        assert gone(suspended[0])
    finally:
        manager.stop(0)


# -- cancels


def test_cancelling_one_of_several_changes_none_of_the_others(tmp_path: Path) -> None:
    with managing(map_of(tmp_path, "slow-a"), n_seq=4) as manager:
        prompts = ["one", "two", "three"]
        alone = [outcome(submit(manager, "slow-a", prompt, max_tokens=20)[0]) for prompt in prompts]
        others = [submit(manager, "slow-a", prompt, max_tokens=20)[0] for prompt in prompts]
        cancelled, ticket = submit(manager, "slow-a", "four", max_tokens=400)
        step(cancelled)
        ticket.cancel()
        ticket.cancel()
        assert outcome(cancelled)[1] == "cancelled"
        assert [outcome(heard) for heard in others] == alone


# -- the end


@pytest.mark.parametrize(
    ("doing", "drain"), [("idle", 0.0), ("loading", 0.0), ("streaming", 0.0), ("queued", 0.0), ("queued", 60.0)]
)
def test_stop(tmp_path: Path, doing: str, drain: float) -> None:
    manager = Manager(Settings(**{**EXACT, "n_seq": 1}), map_of(tmp_path, "slow-a"), new_load=fake)
    manager.start()
    told: list[Heard] = []
    if doing != "loading":
        submit(manager, "slow-a", max_tokens=1)[0].end()
    if doing != "idle":
        told.append(submit(manager, "slow-a", max_tokens=40)[0])
    if doing == "queued":
        told.append(submit(manager, "slow-a", max_tokens=40)[0])
    if doing in ("streaming", "queued"):
        step(told[0])
    pid = state_of(manager, "slow-a").pid
    manager.stop(drain)
    for heard in told:
        last = heard.events[-1]
        assert last == Done() if drain else isinstance(heard.error(), Stopping)
    assert pid is None or gone(pid, 0)
    with pytest.raises(Stopping):
        submit(manager, "slow-a")


def test_a_second_stop_ends_the_draining_of_the_first(tmp_path: Path) -> None:
    manager = Manager(Settings(**EXACT), map_of(tmp_path, "slow-a"), new_load=fake)
    manager.start()
    heard, _ = submit(manager, "slow-a", max_tokens=500)
    step(heard)
    first = threading.Thread(target=manager.stop, args=(3600.0,))
    first.start()
    assert eventually(lambda: manager._gate.closed)
    assert heard.events[-1] != Done()
    manager.stop(3600.0)
    first.join()
    assert isinstance(heard.error(), Stopping)


def fake(*given: Any) -> FakeLoad:
    return FakeLoad(*given[:2], None, *given[2:])


# -- real files


def test_a_tiny_model_and_the_embedded_one_side_by_side(tmp_path: Path, tiny_model: TinyModel) -> None:
    registry = map_of(tmp_path, "")
    registry.add(tiny_model("llada"), "tiny")
    with real(registry) as manager:
        for label in ("tiny", "nano-ar"):
            heard, _ = submit(manager, label, "hello", max_tokens=8)
            assert outcome(heard)[1] in ("stop", "length")  # an empty text is an answer, too
            state = comes(manager, label, lambda state: state.state == "resident")
            assert state.n_bytes > 0
            assert state.facts is not None
            assert state.unloads_in is None or 0 <= state.unloads_in <= 300


def test_a_label_that_gets_another_file_is_served_from_it(tmp_path: Path, tiny_model: TinyModel) -> None:
    registry = map_of(tmp_path, "")
    registry.add(tiny_model("llama"), "tiny")
    with real(registry) as manager:
        first, _ = submit(manager, "tiny", "hello", max_tokens=8)
        first.end()
        pid = state_of(manager, "tiny").pid
        registry.add(tiny_model("llama", seed=9), "tiny", replace=True)
        second, _ = submit(manager, "tiny", "hello", max_tokens=8)
        second.end()
        assert outcome(first) != outcome(second)
        assert pid is not None
        assert gone(pid)
        registry.remove("tiny")
        assert state_of(manager, "tiny").state == "resident", "what is in memory is shown until it leaves"


def test_what_can_never_fit_is_refused_with_the_figures(tmp_path: Path, tiny_model: TinyModel) -> None:
    registry = map_of(tmp_path, "")
    registry.add(tiny_model("llama"), "tiny")
    with real(registry, memory_budget=1000) as manager:
        heard, _ = submit(manager, "tiny")
        error = heard.error()
        assert isinstance(error, HoshikageError)
        assert "GB" in str(error)
        assert manager.pulse().counters["loads"] == 1
