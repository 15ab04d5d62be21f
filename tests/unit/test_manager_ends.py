"""The manager's rules in a world without threads: what fails, what is ended early, and the end of all."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from hoshikage.errors import (
    Cancelled,
    InternalError,
    ModelLoadError,
    ParameterError,
    Stopping,
    TookTooLong,
    WaitedTooLong,
    WorkerDied,
)
from hoshikage.worker.ask import Done, Failed, Waiting
from tests.world import World, answered

# -- failing


def same(told: Exception | None, error: Exception) -> bool:
    """Whether they say the same, and are two: each is raised where it is told, and remembers where that was."""
    return type(told) is type(error) and told.args == error.args and told is not error


def test_a_failed_load_is_told_to_all_who_wait_and_tried_again_later_and_later() -> None:
    world = World()
    clients = [world.ask("a") for _ in range(100)]
    error = ModelLoadError("/models/a", "llama.cpp refused it")
    world.loads[0].outcome = error
    world.run_errands()
    assert all(same(client.error, error) for client in clients)
    assert world.state("a") == "failed"
    assert same(world.ask("a").error, error), "not tried again at once"
    for n, seconds in enumerate((1, 2, 4, 8, 16, 32, 60, 60)):
        world.pass_time(seconds * 0.9)
        assert same(world.ask("a").error, error)
        assert len(world.loads) == n + 1
        world.pass_time(seconds * 0.1)
        client = world.ask("a")
        assert len(world.loads) == n + 2
        world.loads[-1].outcome = error
        world.run_errands()
        assert same(client.error, error)
    world.pass_time(60)
    client = world.ask("a")
    world.finish_all()
    assert isinstance(client.end, Done)
    assert world.state("a") == "resident"


def test_who_is_refused_again_and_again_leaves_nothing_behind() -> None:
    class Body:
        """What a request holds while it is told its error."""

    def refused() -> weakref.ref[Body]:
        body = Body()
        error = world.ask("a").error
        assert error is not None
        with pytest.raises(ModelLoadError):
            raise error
        return weakref.ref(body)

    world = World()
    world.ask("a")
    world.loads[0].outcome = ModelLoadError("/models/a", "llama.cpp refused it")
    world.run_errands()
    left = [refused() for _ in range(3)]
    world.clients.clear()
    gc.collect()
    assert [body() for body in left] == [None] * 3


def test_a_failure_is_forgotten_when_the_file_is_another_one() -> None:
    world = World()
    world.ask("a")
    world.loads[0].outcome = ModelLoadError("/models/a", "llama.cpp refused it")
    world.run_errands()
    client = world.ask("a", identity=2)
    world.finish_all()
    assert isinstance(client.end, Done)


def test_a_load_that_fails_in_a_way_that_nobody_foresaw_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    client = world.ask("a")
    world.loads[0].outcome = ZeroDivisionError("a mistake")
    world.run_errands()
    assert isinstance(client.error, InternalError)
    assert "ZeroDivisionError" in caplog.text
    other = world.ask("b")
    world.finish_all()
    assert isinstance(other.end, Done)


def test_a_worker_that_dies_takes_its_own_requests_and_no_others() -> None:
    world = World(n_seq=2)
    world.have("a", "b")
    served = [world.ask("a"), world.ask("a")]
    waiting, other = world.ask("a"), world.ask("b")
    world.worker("a").die()
    world.settle()
    assert all(isinstance(client.error, WorkerDied) for client in served)
    assert waiting.end is None
    assert other.end is None
    world.finish_all()
    assert isinstance(waiting.end, Done)
    assert isinstance(other.end, Done)


def test_a_worker_that_dies_again_and_again_is_started_later_and_later() -> None:
    world = World(n_seq=1, max_wait=0)
    clients = [world.ask("a") for _ in range(5)]
    starts = []
    for _ in range(5):
        world.run_errands()
        while not world.living():
            world.pass_time(1)
            world.run_errands()
        starts.append(world.time)
        world.worker("a").die()
        world.settle()
        world.run_errands()
    assert starts == [0, 0, 1, 3, 7]
    assert all(isinstance(client.error, WorkerDied) for client in clients)


def test_an_answer_forgives_earlier_deaths() -> None:
    world = World(n_seq=1)
    for _ in range(10):
        world.have("a")
        world.ask("a")
        world.worker("a").die()
        world.settle()
        world.run_errands()
    assert world.time == 0


def test_a_worker_that_dies_unused_is_noticed() -> None:
    world = World()
    world.have("a")
    world.worker("a").die()
    world.settle()
    world.run_errands()
    assert world.state("a") == "cold"


def test_a_worker_that_dies_before_it_is_known_is_not_taken_for_alive() -> None:
    """Nobody waits for it any more, so nobody would find out."""
    world = World()
    client = world.ask("a")
    assert client.request is not None
    client.request.cancel()
    world.settle()
    world.loads[0].dies = True
    world.run_errands()
    assert world.state("a") == "cold"


def test_a_late_word_of_an_earlier_death_ends_nobody() -> None:
    world = World()
    world.have("a")
    earlier = world.worker("a")
    earlier.die()
    world.settle()
    world.have("a")
    earlier.on_death(WorkerDied("once more"))
    world.settle()
    assert world.state("a") == "resident"


def test_who_is_handed_to_a_dead_worker_is_the_first_of_the_next_one() -> None:
    world = World(n_seq=1)
    world.have("a")
    world.worker("a").alive = False
    client, later = world.ask("a"), world.ask("a")
    assert client.told == [Waiting(n_ahead=0)]
    world.run_errands()
    world.finish(world.worker("a").asks[0])
    assert (client.end, later.end) == (Done(), None)
    world.finish_all()
    assert later.end == Done()


@pytest.mark.parametrize("error", [ParameterError("ask", "it is too long"), RuntimeError("nobody foresaw this")])
def test_what_a_worker_refuses_to_take_fails_alone(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    world = World()
    world.have("a")

    def refuse(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(world.worker("a"), "ask", refuse)
        client = world.ask("a")
    assert same(client.error, error) or isinstance(client.error, InternalError)
    other = world.ask("a")
    world.finish_all()
    assert isinstance(other.end, Done)
    assert (world.gate.n_inside, world.gate.n_waiting) == (0, 0)


def test_a_load_without_a_thread_fails_and_is_tried_again() -> None:
    world = World()
    world.has_threads = False
    client = world.ask("a")
    assert isinstance(client.error, InternalError) and "no thread" in client.error.cause
    assert world.state("a") == "failed"
    world.has_threads = True
    world.pass_time(1)
    world.have("a")
    assert world.state("a") == "resident"


# -- ending early


def test_a_cancel_in_the_line_is_answered_at_once() -> None:
    world = World(n_seq=1)
    world.have("a")
    served, waiting = world.ask("a"), world.ask("a")
    assert waiting.request is not None
    waiting.request.cancel()
    waiting.request.cancel()
    world.settle()
    assert isinstance(waiting.error, Cancelled)
    assert served.end is None
    assert world.gate.n_waiting == 0


def test_a_cancel_of_what_is_served_is_passed_on_and_ends_as_the_worker_says() -> None:
    world = World()
    world.have("a")
    client = world.ask("a")
    assert client.request is not None
    client.request.cancel()
    world.settle()
    ask = world.worker("a").asks[0]
    assert ask.cancelled
    assert client.end is None
    world.finish(ask)
    assert client.told == [Done()]


def test_a_wait_has_an_end() -> None:
    world = World(n_seq=1, max_wait=300)
    world.have("a")
    served, short, long = world.ask("a"), world.ask("a", wait=5), world.ask("a")
    world.pass_time(5)
    assert isinstance(short.error, WaitedTooLong)
    assert long.end is None
    world.pass_time(295)
    assert isinstance(long.error, WaitedTooLong)
    assert served.end is None, "it waits no more"


def test_the_time_of_a_request_has_an_end_and_its_place_is_free_when_the_worker_lets_go() -> None:
    world = World(n_seq=1)
    world.have("a")
    client, next_one = world.ask("a", time=60), world.ask("a")
    world.pass_time(60)
    assert isinstance(client.error, TookTooLong)
    ask = world.worker("a").asks[0]
    assert ask.cancelled
    assert len(world.worker("a").asks) == 1
    ask.tell(answered("too late"))
    world.finish(ask)
    assert isinstance(client.told[-1], Failed)
    world.finish_all()
    assert isinstance(next_one.end, Done)


def test_what_an_answer_took_is_counted_once_whoever_hears_of_it() -> None:
    world, counts = World(n_seq=1), list[Any]()
    world.have("a")
    client = world.ask("a", count=counts.append)
    (ask,) = world.worker("a").asks
    ask.tell(answered("in time"))
    assert len(counts) == len(client.told) == 1
    world.finish(ask)
    late = world.ask("a", time=60, count=counts.append)
    world.pass_time(60)
    (ask,) = world.worker("a").asks
    assert isinstance(late.error, TookTooLong)
    ask.tell(answered("too late"))
    world.finish(ask)
    assert len(counts) == 2 and len(late.told) == 1


def test_a_worker_that_does_not_let_go_is_ended() -> None:
    world = World(n_seq=1, watchdog_timeout=120)
    world.have("a")
    world.ask("a", time=60)
    next_one = world.ask("a", wait=0)
    world.pass_time(100)
    world.worker("a").last_step = world.time  # a long pass, but it lives
    world.pass_time(100)
    assert world.state("a") == "resident"
    world.pass_time(121)
    assert world.state("a") == "draining"
    world.finish_all()
    assert isinstance(next_one.end, Done)


def test_a_listener_that_raises_frees_its_place() -> None:
    world = World(n_seq=1)
    world.have("a")
    client = world.ask("a")
    client.hear = None  # type: ignore[assignment,method-assign]
    client.request._outlet._tell = lambda _: 1 / 0  # type: ignore[union-attr]
    other = world.ask("a")
    ask = world.worker("a").asks[0]
    ask.tell(answered())
    world.settle()
    assert ask.cancelled
    world.finish(ask)
    world.finish_all()
    assert isinstance(other.end, Done)


# -- the end


def test_stop_with_nothing_to_do() -> None:
    world = World()
    world.do(lambda: world.steward.stop(30))
    assert world.steward.is_over


def test_stop_finishes_what_was_let_in() -> None:
    world = World(n_seq=1)
    world.have("a")
    clients = [world.ask("a"), world.ask("a"), world.ask("b")]
    world.do(lambda: world.steward.stop(30))
    assert not world.steward.is_over
    world.finish_all()
    world.run_errands()
    assert all(isinstance(client.end, Done) for client in clients)
    assert world.steward.is_over
    assert world.living() == []


def test_stop_ends_what_takes_too_long() -> None:
    world = World(n_seq=1)
    world.stages = True
    world.have("a")
    served, waiting, loading = world.ask("a"), world.ask("a"), world.ask("b")
    world.do(lambda: world.steward.stop(30))
    world.pass_time(29)
    assert served.end is None
    world.pass_time(1)
    for client in (served, waiting, loading):
        assert isinstance(client.error, Stopping)
    world.run_errands()
    assert world.steward.is_over
    assert world.living() == []
    assert all(copy.removed for copy in world.copies)


def test_a_second_stop_does_not_drain() -> None:
    world = World()
    world.have("a")
    client = world.ask("a")
    world.do(lambda: world.steward.stop(1e6))
    assert client.end is None
    world.do(lambda: world.steward.stop(1e6))
    assert isinstance(client.error, Stopping)
    world.run_errands()
    assert world.steward.is_over
    assert world.workers[0].patience == 0


def test_who_comes_after_the_end_is_told() -> None:
    world = World()
    world.do(lambda: world.steward.stop(0))
    client = world.ask("a")
    assert isinstance(client.error, Stopping)
    assert world.loads == []
    assert world.gate.n_inside == 0
