"""The manager with its thread: what is safe from any thread, what never waits, and how it ends."""

from __future__ import annotations

import math
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hoshikage.errors import ParameterError, QueueFullError, Stopping, UnknownModelError
from hoshikage.manager.job import Job
from hoshikage.manager.manager import Manager
from hoshikage.manager.place import Loaded
from hoshikage.settings import Settings
from hoshikage.worker import wire
from hoshikage.worker.ask import Ask, Done, Event, Failed, Waiting
from tests.long import LONG
from tests.managers import ThreadLoad, ThreadWorker, comes, managing, map_of, state_of, submit
from tests.rawgguf import Draft
from tests.workers import Heard, eventually

N_INSTANTS = 1000 if LONG else 200


class Deaf(ThreadWorker):
    """Takes what it is asked, and never answers."""

    def ask(self, *_: Any) -> Any:
        return self


class DeafLoad(ThreadLoad):
    """A load of it."""

    def run(self) -> Any:
        return Loaded(worker=Deaf())


def threads(workers: list[ThreadWorker]) -> Any:
    return lambda *_: ThreadLoad(workers)


def test_a_request_at_the_instant_of_the_unload_again_and_again(tmp_path: Path) -> None:
    """Each goes as soon as the one before is told its end, which is when the model leaves."""
    workers: list[ThreadWorker] = []
    with managing(map_of(tmp_path, "a"), threads(workers)) as manager:
        for i in range(N_INSTANTS):
            heard, _ = submit(manager, "a", keep_alive=0.0 if i % 3 else 0.0001)
            assert heard.end()[-1] == Done()
            assert sum(isinstance(event, Done | Failed) for event in heard.events) == 1
        comes(manager, "a", lambda state: state.state == "cold")
    assert sum(worker.n_asks for worker in workers) == N_INSTANTS
    assert not any(worker.alive for worker in workers)


def test_a_thousand_requests_of_many_threads_are_each_served_once(tmp_path: Path) -> None:
    workers: list[ThreadWorker] = []
    told: list[Heard] = []
    with managing(map_of(tmp_path, "a b c"), threads(workers), max_waiting=10_000, max_resident=2) as manager:

        def work(number: int) -> None:
            for i in range(125):
                told.append(submit(manager, "abc"[(number + i) % 3], key=str(number), keep_alive=0.0)[0])

        crowd = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        for heard in told:
            assert heard.end()[-1] == Done()
        assert eventually(lambda: manager.pulse().counters["done"] == 1000)
    assert sum(worker.n_asks for worker in workers) == 1000
    assert all(sum(isinstance(event, Done | Failed) for event in heard.events) == 1 for heard in told)


def test_a_listener_that_hangs_delays_nobody_whose_model_is_another(tmp_path: Path) -> None:
    go_on, inside = threading.Event(), threading.Event()

    def hang(_: Event) -> None:
        inside.set()
        assert go_on.wait(60)

    with managing(map_of(tmp_path, "a b"), threads([])) as manager:
        for label in "ab":
            submit(manager, label)[0].end()
        manager.submit(Job(model="a", ask=Ask(kind="generate")), hang)
        assert inside.wait(60)
        assert submit(manager, "b")[0].end()[-1] == Done()
        go_on.set()


def test_threads_that_cannot_be_started_for_a_while_leave_nothing_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "manager's errand" and full.is_set():
            raise RuntimeError("can't start new thread")
        real_start(thread)

    full, real_start, workers = threading.Event(), threading.Thread.start, list[ThreadWorker]()
    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr("hoshikage.manager.manager.AGAIN", 0.01)
    with managing(map_of(tmp_path, "a b"), threads(workers)) as manager:
        assert submit(manager, "a")[0].end()[-1] == Done()
        full.set()
        assert "no thread" in str(submit(manager, "b")[0].error())
        manager.unload("a")
        comes(manager, "a", lambda state: state.state == "draining")
        full.clear()
        comes(manager, "a", lambda state: state.state == "cold")
    assert not any(worker.alive for worker in workers)


def test_a_stop_waits_for_no_timer_of_what_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose worker never says its last word has a timer of two minutes."""
    go_on = threading.Event()

    class Stuck(Deaf):
        def close(self, patience: float) -> None:
            go_on.wait(60)
            super().close(patience)

        def cancel(self) -> None:
            """Not heard."""

    class StuckLoad(ThreadLoad):
        def run(self) -> Any:
            return Loaded(worker=Stuck())

    monkeypatch.setattr("hoshikage.manager.steward.LAST", 0.05)
    monkeypatch.setattr("hoshikage.manager.manager.STRAGGLERS", 0.05)
    with managing(map_of(tmp_path, "a"), lambda *_: StuckLoad([]), watchdog_timeout=120) as manager:
        heard, _ = submit(manager, "a")
        assert eventually(lambda: manager.pulse().n_active == 1)
        begun = time.monotonic()
        manager.stop(0)
        assert time.monotonic() - begun < 60
        assert isinstance(heard.error(), Stopping)
        go_on.set()


def test_what_is_known_at_once_is_raised(tmp_path: Path) -> None:
    class Never(ThreadLoad):
        def run(self) -> Any:
            go_on.wait(60)
            return super().run()

    go_on = threading.Event()
    with managing(map_of(tmp_path, "a"), lambda *_: Never([]), max_waiting=2) as manager:
        with pytest.raises(UnknownModelError):
            submit(manager, "other")
        waiting = [submit(manager, "a")[0] for _ in range(2)]
        with pytest.raises(QueueFullError):
            submit(manager, "a")
        go_on.set()
        assert all(heard.end()[-1] == Done() for heard in waiting)
    with pytest.raises(Stopping):
        submit(manager, "a")


def test_a_body_is_written_by_the_one_who_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager's thread hands over what is written already: a long body would keep it from all others."""
    wrote: list[str] = []
    checked = wire.checked_json

    def watched(*value: Any) -> Any:
        wrote.append(threading.current_thread().name)
        return checked(*value)

    monkeypatch.setattr(wire, "checked_json", watched)
    with managing(map_of(tmp_path, "a")) as manager:
        assert submit(manager, "a")[0].end()[-1] == Done()
    assert threading.current_thread().name in wrote and "manager" not in wrote


@pytest.mark.parametrize("wrong", [math.nan, 2**70, "x" * 2000])
def test_a_body_that_cannot_cross_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    monkeypatch.setattr(wire, "MOST", 1000)
    with managing(map_of(tmp_path, "a"), threads([])) as manager:
        with pytest.raises(ParameterError):
            manager.submit(Job(model="a", ask=Ask(kind="generate", body={"prompts": [wrong]})), Heard())
        assert (manager.pulse().n_waiting, state_of(manager, "a").state) == (0, "cold")


def test_models_that_are_registered_and_removed_while_others_ask_for_them(tmp_path: Path) -> None:
    """Whoever asks is answered or told that there is no such model; nothing else happens."""
    registry = map_of(tmp_path, "a")
    (tmp_path / "b.gguf").write_bytes(Draft().bytes())
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            registry.add(tmp_path / "b.gguf", "b", replace=True)
            registry.remove("b")

    with managing(registry, threads([])) as manager:
        changing = threading.Thread(target=change)
        changing.start()
        n_found = 0
        while n_found < 50 and changing.is_alive():
            assert submit(manager, "a")[0].end()[-1] == Done()
            try:
                assert submit(manager, "b")[0].end()[-1] == Done()
                n_found += 1
            except UnknownModelError:
                assert state_of(manager, "a").state == "resident"
        over.set()
        changing.join()
    assert n_found == 50


def test_a_listing_wakes_nothing(tmp_path: Path) -> None:
    workers: list[ThreadWorker] = []
    with managing(map_of(tmp_path, "a b"), threads(workers)) as manager:
        assert {state.label: state.state for state in manager.models() if state.label in "ab"} == {
            "a": "cold", "b": "cold"
        }  # fmt: skip
        manager.wake("a", keep_alive=-1)
        comes(manager, "a", lambda state: state.state == "resident" and not state.n_active)
        assert state_of(manager, "a").unloads_in is None
        assert state_of(manager, "b").state == "cold"
        manager.unload("a")
        comes(manager, "a", lambda state: state.state == "cold")
    assert len(workers) == 1


def test_preloaded_models_are_there_and_a_wrong_name_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"preload": ("nothing", "a"), "pinned": ("a", "other")}
    with managing(map_of(tmp_path, "a"), threads([]), **names) as manager:
        comes(manager, "a", lambda state: state.state == "resident")
    assert "nothing is not preloaded" in caplog.text
    assert "other is pinned, but cannot be had: there is no model 'other'" in caplog.text
    assert "a is pinned" not in caplog.text


def test_a_mistake_of_ours_is_logged_and_the_rest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("in the manager's own thread")

    loads = iter([broken, threads([])])
    with managing(map_of(tmp_path, "a"), lambda *given: next(loads)(*given)) as manager:
        submit(manager, "a", wait=0.01)
        assert eventually(lambda: "ZeroDivisionError" in caplog.text)
        assert manager.pulse().counters["begun"] == 0


def test_the_pulse_tells_of_a_thread_that_hangs(tmp_path: Path) -> None:
    class Hanging(ThreadLoad):
        def __init__(self) -> None:
            inside.set()
            go_on.wait(60)
            super().__init__([])

    go_on, inside = threading.Event(), threading.Event()
    with managing(map_of(tmp_path, "a"), lambda *_: Hanging(), watchdog_timeout=0.05) as manager:
        assert not manager.pulse().stuck
        heard, _ = submit(manager, "a")
        assert inside.wait(60)
        assert eventually(lambda: manager.pulse().stuck)
        assert manager.pulse().n_waiting == 1
        go_on.set()
        heard.end()
        assert eventually(lambda: manager.pulse().still_for == 0)
        assert not manager.pulse().stuck
    assert manager.pulse().stuck, "nothing moves without its thread"


def test_the_pulse_tells_of_a_worker_that_hangs(tmp_path: Path) -> None:
    def load(place: Any, *_: Any) -> Any:
        return DeafLoad([]) if place.label == "a" else ThreadLoad([])

    with managing(map_of(tmp_path, "a b"), load, watchdog_timeout=0.05) as manager:
        submit(manager, "a")
        comes(manager, "a", lambda state: state.n_active)
        assert eventually(lambda: manager.pulse().stuck)
        submit(manager, "b")[0].end()
        assert manager.pulse().stuck, "another model's work does not hide it"


def test_stop_from_a_callback_does_not_wait_for_itself(tmp_path: Path) -> None:
    manager = Manager(Settings(), map_of(tmp_path, "a"), new_load=threads([]))
    told, on = list[Event](), list[threading.Thread]()

    def tell(event: Event) -> None:
        told.append(event)
        if isinstance(event, Waiting):
            on.append(threading.current_thread())
            manager.stop(0)

    manager.start()
    manager.submit(Job(model="a", ask=Ask(kind="generate")), tell)
    on_thread = manager._thread
    on_thread.join(60)
    assert on == [on_thread]
    assert isinstance(told[-1], Failed)
    manager.stop()


def test_a_signal_that_stops_once_more_ends_the_draining(tmp_path: Path) -> None:
    """The handler runs in the thread that waits for the first stop."""
    manager = Manager(Settings(), map_of(tmp_path, "a"), new_load=lambda *_: DeafLoad([]))
    manager.start()
    heard, _ = submit(manager, "a")
    comes(manager, "a", lambda state: state.n_active)

    def press_again() -> None:
        assert eventually(lambda: manager._steward._ending)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: manager.stop())
    again = threading.Thread(target=press_again)
    again.start()
    try:
        manager.stop(3600)
    finally:
        again.join()
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(heard.error(), Stopping)


def test_stop_without_start_and_start_after_submit(tmp_path: Path) -> None:
    manager = Manager(Settings(), map_of(tmp_path, "a"), new_load=threads([]))
    manager.stop()
    manager = Manager(Settings(), map_of(tmp_path, "a"), new_load=threads([]))
    heard, _ = submit(manager, "a")
    manager.start()
    assert heard.end()[-1] == Done()
    manager.stop()


def test_one_who_is_heard_of_after_the_end_is_told_so(tmp_path: Path) -> None:
    manager = Manager(Settings(), map_of(tmp_path, "a"), new_load=threads([]))
    manager.start()
    post, stopping = manager._desk.post, threading.Thread(target=manager.stop, args=(0,))

    def too_late(action: Any) -> None:
        manager._desk.post = post  # type: ignore[method-assign]
        stopping.start()
        assert eventually(lambda: manager._steward.is_over)
        post(action)

    manager._desk.post = too_late  # type: ignore[method-assign]
    heard, _ = submit(manager, "a")
    assert isinstance(heard.error(), Stopping)
    stopping.join()


def test_nobody_who_was_let_in_is_left_without_an_end_by_a_stop(tmp_path: Path) -> None:
    for _ in range(N_INSTANTS // 10):
        manager = Manager(Settings(), map_of(tmp_path, "a"), new_load=threads([]))
        manager.start()
        told: list[Heard] = []

        def work(manager: Manager = manager, told: list[Heard] = told) -> None:
            try:
                while True:
                    told.append(submit(manager, "a")[0])
            except (Stopping, QueueFullError):
                return

        crowd = [threading.Thread(target=work) for _ in range(3)]
        for thread in crowd:
            thread.start()
        manager.stop(0)
        for thread in crowd:
            thread.join()
        for heard in told:
            heard.end()
        assert manager.pulse().n_waiting == 0


@pytest.mark.parametrize("n_bytes_host", [3, 2])
def test_where_a_model_is_takes_no_look_at_a_file(tmp_path: Path, n_bytes_host: int) -> None:
    class Split(ThreadLoad):
        def run(self) -> Any:
            return replace(super().run(), n_bytes=3, n_bytes_host=n_bytes_host)

    with managing(map_of(tmp_path, "a"), lambda *_: Split([])) as manager:
        assert not manager.is_on_gpu("a") and not manager.is_on_gpu("nobody")
        assert submit(manager, "a")[0].end()[-1] == Done()
        (tmp_path / "model_map.json").unlink()
        assert manager.is_on_gpu("a") == (n_bytes_host < 3)
