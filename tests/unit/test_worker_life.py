"""A pass that takes longer than the watchdog waits: the child's reading thread tells that it moves."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hoshikage._board import Board
from hoshikage.engine import curve
from hoshikage.engine.curve import one_round
from hoshikage.worker import hearing, loop
from hoshikage.worker.ask import Answered, Ask, Done
from hoshikage.worker.frames import event_of
from hoshikage.worker.hearing import Hearing
from hoshikage.worker.loop import Loop, Task
from hoshikage.worker.one_pass import Gate, OnePass
from hoshikage.worker.speech import Speech
from hoshikage.worker.wire import Frames


class Ends:
    """Both ends of a worker's socket, and its loop in the middle of a pass."""

    def __init__(self) -> None:
        self.parent, self.child = socket.socketpair()
        self.parent.settimeout(10)
        self.loop = Loop(Speech(self.child), None)
        self.pass_under_way: Any = SimpleNamespace(nodes=0, steps=3, attend=lambda: None)
        self.loop.board = self.pass_under_way
        self.hearing = Hearing(self.child, self.loop)

    def heard(self) -> list[dict[str, Any]]:
        """What the child has said and the parent has not heard yet."""
        self.parent.setblocking(False)
        try:
            return list(Frames().feed(self.parent.recv(1 << 20)))
        except BlockingIOError:
            return []


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(hearing, "BEAT", 0.01)
    ends = Ends()
    yield ends
    ends.parent.close()
    ends.child.close()


def test_one_that_moves_shows_life_and_one_that_hangs_does_not(ends: Ends) -> None:
    ends.loop.show_life()
    assert ends.heard() == [], "nothing has been computed"
    ends.pass_under_way.nodes = 100
    ends.loop.show_life()
    ends.loop.show_life()
    assert ends.heard() == [{"steps": 3}]


def test_a_measurement_for_an_ask_shows_life(ends: Ends) -> None:
    ends.loop.tasks[1] = task = Task(1, Ask(kind="generate", body={}))
    task.board = SimpleNamespace(nodes=7)  # type: ignore[assignment]  # all that is looked at
    ends.loop.show_life()
    assert ends.heard() == [{"steps": 3}]


def test_a_load_shows_life_as_long_as_it_computes_or_reads(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its board is not looked at: reading a file moves no pass."""
    ends.hearing._take({"load": {}})
    used = SimpleNamespace(ru_utime=0.5, ru_stime=0.4, ru_inblock=0, ru_majflt=0)
    monkeypatch.setattr(resource, "getrusage", lambda _: used)
    for name, n, heard in [
        ("ru_utime", 0.5, []),
        ("ru_utime", 1.8, [{"steps": 3}]),
        ("ru_stime", 0.9, []),
        ("ru_stime", 1.3, [{"steps": 3}]),
        ("ru_inblock", 8, [{"steps": 3}]),
        ("ru_majflt", 1, [{"steps": 3}]),
        ("ru_majflt", 1, []),
    ]:
        setattr(used, name, n)
        ends.loop.show_life()
        assert ends.heard() == heard, (name, n)
    ends.loop.load({})
    assert "refused" in ends.heard()[0]
    assert not ends.loop.loading


def test_a_load_that_waits_for_the_passes_of_others_shows_life(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "effort", lambda: 0)
    ends.hearing._take({"load": {}})
    with OnePass() as one_pass:
        ends.loop._held = gate = Gate(one_pass.descriptor)
        monkeypatch.setattr(gate, "_take", ends.loop.show_life)
        with gate:
            assert ends.heard() == [{"steps": 3}]
    ends.loop.show_life()
    assert ends.heard() == [], "its turn has come, and it does nothing with it"


@pytest.mark.parametrize("loading", [False, True])
def test_a_look_is_taken_while_the_parent_is_silent(ends: Ends, monkeypatch: pytest.MonkeyPatch, loading: bool) -> None:
    looks = []

    def look() -> None:
        looks.append(len(looks))
        if len(looks) == 3:
            ends.parent.sendall(b"a word")

    monkeypatch.setattr(ends.loop, "show_life", look)
    ends.loop.loading = loading
    if not loading:
        ends.loop.tasks[1] = SimpleNamespace()  # type: ignore[assignment]  # somebody waits for the pass
    assert ends.hearing._next() == b"a word"
    assert looks == [0, 1, 2]


def test_none_is_taken_while_there_is_no_work(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends.loop, "show_life", lambda: pytest.fail("nothing is under way"))
    ends.parent.sendall(b"a word")
    assert ends.hearing._next() == b"a word"


def test_a_pass_ends_once_nobody_waits_for_it(ends: Ends) -> None:
    """Also where several asks were in it, which leave one after the other while it computes."""
    ends.loop.board = Board()
    ends.loop.tasks |= {number: Task(number, Ask(kind="generate", body={})) for number in (1, 2)}
    ends.hearing._take({"cancel": 1})
    assert not ends.loop.board.cancelled
    ends.hearing._take({"cancel": 2})
    assert ends.loop.board.cancelled


@pytest.fixture
def no_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("no_curve")
def test_an_ask_is_cancelled_while_it_has_something_measured(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded for exact answers nothing is measured; the first who wants another waits for it, and may go."""
    ends.loop.board = Board()
    ends.loop.load({"fake": {}, "settings": {"quality": "exact"}})
    body = {"prompts": ["a"], "options": {"quality": "balanced", "max_tokens": 9}}
    ends.loop.tasks[1] = task = Task(1, Ask(kind="generate", body=body))
    ends.heard()
    n_rounds = 0

    def round_that_is_cancelled(*arguments: Any) -> list[float]:
        nonlocal n_rounds
        n_rounds += 1
        ends.hearing._take({"cancel": 1})
        return one_round(*arguments)

    monkeypatch.setattr(curve, "one_round", round_that_is_cancelled)
    with ThreadPoolExecutor(1) as pool:
        prepared = pool.submit(ends.hearing._prepare_one, task)
        prepared.add_done_callback(lambda _: ends.loop.call(lambda: None))
        while not prepared.done() or not ends.loop._calls.empty():
            ends.loop._calls.get()()
    prepared.result()
    assert n_rounds == 1
    *_, answered, done = [event_of(frame)[1] for frame in ends.heard()]
    assert isinstance(answered, Answered)
    assert (answered.stop_reason, isinstance(done, Done)) == ("cancelled", True)
    assert ends.loop.tasks == {}


def test_a_parent_that_does_not_listen_is_not_waited_for(ends: Ends) -> None:
    ends.child.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            ends.child.send(bytes(1 << 16))
    ends.child.setblocking(True)
    ends.pass_under_way.nodes = 1
    ends.loop.show_life()  # would never return
