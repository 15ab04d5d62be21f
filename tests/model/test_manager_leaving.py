"""Clients that leave, whatever their request is doing: its place is free again and nobody else notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from hoshikage.errors import Cancelled
from hoshikage.manager.job import Job
from hoshikage.manager.manager import Manager
from hoshikage.worker.ask import Ask, Done, Said
from tests.long import LONG
from tests.managers import PLAN, comes, managing, map_of, state_of, submit
from tests.workers import Heard, eventually, suspend

N_LEAVING = 1000 if LONG else 200
KINDS: dict[Any, dict[str, Any]] = {
    "generate": {"prompts": ["a"], "options": {"max_tokens": 2}},
    "chat": {"messages": [{"role": "user", "content": "a"}], "options": {"max_tokens": 2}},
    "infill": {"prefix": "a", "suffix": "b", "length": 2},
    "tokenize": {"text": "a"},
    "detokenize": {"ids": [97]},
    "template": {"messages": [{"role": "user", "content": "a"}]},
    "describe": {},
}


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with managing(map_of(tmp_path_factory.mktemp("leaving"), "a b slow"), n_seq=2, max_waiting=2000) as made:
        yield made


def steady(manager: Manager) -> Heard:
    return submit(manager, "slow", "steady", max_tokens=120)[0]


def text(heard: Heard) -> str:
    (answer,) = heard.answers()
    assert heard.text() == answer.text
    return answer.text


def n_descriptors_and_threads() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))  # noqa: PTH208


def no_more_than(before: tuple[int, int]) -> bool:
    return all(now <= then for now, then in zip(n_descriptors_and_threads(), before, strict=True))


def begun(heard: Heard) -> None:
    heard.wait(lambda events: any(isinstance(event, Said) for event in events))


@pytest.mark.parametrize("watch", ["end", "text", "canvas"] if LONG else ["end", "text"])
def test_in_the_midst_of_an_answer(manager: Manager, watch: Any) -> None:
    alone, beside = text(steady(manager)), steady(manager)
    leaving, ticket = submit(manager, "slow", "leaving", max_tokens=400, watch=watch)
    waiting = submit(manager, "slow", "waiting", max_tokens=1)[0]
    begun(beside) if watch == "end" else begun(leaving)
    ticket.cancel()
    (answer,) = leaving.answers()
    assert answer.stop_reason == "cancelled"
    assert text(waiting)
    assert text(beside) == alone


def test_in_the_line(manager: Manager) -> None:
    """Who is served does not come to an end meanwhile, as the worker stands still."""
    submit(manager, "slow")[0].end()
    worker = state_of(manager, "slow").pid
    assert worker
    suspend(worker)
    try:
        served = [submit(manager, "slow", "served", max_tokens=50) for _ in range(PLAN.n_seq)]
        leaving, ticket = submit(manager, "slow", "leaving")
        ticket.cancel()
        assert isinstance(leaving.error(), Cancelled)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert len({text(heard) for heard, _ in served}) == 1


def test_while_the_model_is_loaded(manager: Manager) -> None:
    manager.unload("a")
    comes(manager, "a", lambda state: state.state == "cold")
    leaving, ticket = submit(manager, "a", keep_alive=300.0)
    staying, _ = submit(manager, "a")
    comes(manager, "a", lambda state: state.state == "loading")
    ticket.cancel()
    assert isinstance(leaving.error(), Cancelled)
    assert text(staying)


def test_hundreds_that_come_and_go(manager: Manager) -> None:
    """Some are cancelled before they begin, some in their first pass, some too late; the counts come out even."""
    alone, beside = text(steady(manager)), steady(manager)
    begun(beside)
    comes(manager, "slow", lambda state: state.n_active <= 1)  # a quick machine may be done with both
    before = n_descriptors_and_threads()
    left = []
    for i in range(N_LEAVING):
        heard, ticket = submit(manager, "slow", "leaving", key=str(i % 3), max_tokens=50)
        left.append((heard, ticket))
        if i % 2:
            ticket.cancel()
        if i >= 20:
            left[i - 20][1].cancel()
    for heard, ticket in left:
        ticket.cancel()
        heard.end()
    assert text(beside) == alone
    comes(manager, "slow", lambda state: (state.n_active, state.n_waiting) == (0, 0))
    assert eventually(lambda: no_more_than(before)), (before, n_descriptors_and_threads())
    pulse = manager.pulse()
    assert (pulse.n_waiting, pulse.n_active) == (0, 0)


@pytest.mark.parametrize("kind", KINDS if LONG else ["infill", "template"])
def test_every_kind_of_question_at_the_instant_of_the_unload(manager: Manager, kind: Any) -> None:
    """The one before is told its end, and its model leaves with it."""
    for _ in range(20 if LONG else 1):
        submit(manager, "b", keep_alive=0.0)[0].end()
        heard = Heard()
        manager.submit(Job(model="b", ask=Ask(kind=kind, body=KINDS[kind])), heard)
        assert heard.end()[-1].__class__ is Done, heard.events[-1]
    assert eventually(lambda: state_of(manager, "b").n_active == 0)
