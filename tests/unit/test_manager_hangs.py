"""Loads that show no sign of life: they are given up, and nobody waits for those that cannot be ended either."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hoshikage.errors import Cancelled, LoadStuck
from hoshikage.worker.ask import Done, Loading, Waiting
from tests.world import Client, World


def with_a_load_that_hangs(**settings: Any) -> tuple[World, Client, Client]:
    """A load that has shown no sign of life for so long as may be; who asked for it, and who waits for another."""
    world = World(**{"watchdog_timeout": 120, "max_wait": 0, **settings})
    client, other = world.ask("a"), world.ask("b")
    world.pass_time(119)
    assert (client.end, world.loads[0].cancelled) == (None, False)
    world.pass_time(1)
    return world, client, other


def test_a_load_that_does_not_move_is_given_up_and_others_come() -> None:
    world, client, other = with_a_load_that_hangs()
    assert isinstance(client.error, LoadStuck)
    assert "120 s" in str(client.error)
    assert world.state("b") == "loading"
    hangs, cancel, comes = world.errands
    cancel()
    assert world.loads[0].cancelled
    comes()
    world.settle()
    world.finish(world.worker("b").asks[0])
    assert other.end == Done()
    hangs()
    world.settle()
    assert world.state("a") == "failed"


def test_a_model_whose_load_hung_rests_as_long_as_it_kept_others_waiting() -> None:
    world, _, _ = with_a_load_that_hangs()
    world.run_errand(1)
    world.run_errands()
    world.pass_time(119)
    assert isinstance(world.ask("a").error, LoadStuck)
    world.pass_time(1)
    client = world.ask("a")
    assert world.state("a") == "loading"
    world.finish_all()
    assert client.end == Done()


def test_a_load_that_cannot_even_be_ended_stands_in_nobodys_way() -> None:
    """As that of a process whose disk never answers: it cannot be killed."""
    world, _, other = with_a_load_that_hangs(max_resident=1)
    later = world.ask("a")
    assert world.state("b") == "cold", "there is one place, and it may still be given back"
    world.pass_time(120)
    assert world.state("b") == "loading"
    assert not world.pulse().stuck
    hangs = world.errands.pop(0)
    world.run_errands()
    world.finish(world.worker("b").asks[0])
    assert other.end == Done()
    assert isinstance(later.error, LoadStuck)
    world.pass_time(10_000)
    assert isinstance(world.ask("a").error, LoadStuck), "one that hangs is enough"
    assert len(world.loads) == 2
    assert (world.state("a"), world.pulse().n_loading) == ("failed", 0)
    hangs()
    world.settle()
    world.have("a")


def test_a_stop_waits_for_no_load_that_cannot_be_ended() -> None:
    world, _, _ = with_a_load_that_hangs()
    world.errands.pop(0)
    world.finish_all()
    world.pass_time(120)
    world.do(lambda: world.steward.stop(0))
    assert not world.steward.is_over, "there is b"
    world.run_errands()
    assert world.steward.is_over


def test_a_load_that_is_unloaded_has_its_time_to_end_before_it_is_reckoned_with_no_more() -> None:
    world = World(watchdog_timeout=120, max_resident=1, max_wait=0)
    client = world.ask("a")
    world.pass_time(100)
    world.do(lambda: world.steward.unload("a"))
    assert isinstance(client.error, Cancelled)
    world.ask("b")
    world.pass_time(119)
    assert world.state("b") == "cold", "it may still have its memory"
    world.pass_time(1)
    assert (world.state("a"), world.state("b")) == ("failed", "loading")


def test_a_server_that_stood_still_hears_of_a_load_before_it_gives_it_up() -> None:
    """As one that was stopped by Ctrl-Z: what its workers said meanwhile is read once it goes on."""
    world = World(watchdog_timeout=120, max_wait=0)
    client = world.ask("a")
    world.time = 10_000
    world.settle()
    world.pass_time(1)
    world.loads[0].on_progress(0.5)
    world.pass_time(119)
    world.finish_all()
    assert client.end == Done()


def test_a_model_whose_load_cannot_be_ended_may_come_from_another_file() -> None:
    world, _, other = with_a_load_that_hangs()
    world.stages = True
    hangs = world.errands.pop(0)
    world.finish_all()
    world.pass_time(120)
    client = world.ask("a", identity=2)
    world.finish_all()
    assert (client.end, other.end) == (Done(), Done())
    hangs()
    world.settle()
    world.run_errands()
    assert world.state("a") == "resident"
    assert [copy.removed for copy in world.copies] == [False, False, True], "nobody needs that of the first"


def test_another_file_that_waited_for_a_load_to_end_may_come_once_that_is_reckoned_with_no_more() -> None:
    world, _, _ = with_a_load_that_hangs()
    hangs = world.errands.pop(0)
    world.finish_all()
    waits = world.ask("a", identity=2)
    assert waits.end is None, "its place has not been given back"
    world.pass_time(120)
    assert isinstance(waits.error, LoadStuck)
    client = world.ask("a", identity=2)
    world.finish_all()
    assert client.end == Done()
    hangs()
    world.settle()
    assert world.state("a") == "resident"


def test_a_load_that_moves_is_not_given_up_though_it_begins_anew() -> None:
    """With less of the model, after memory has run out: it is not as far as it was, but it moves."""
    world = World(watchdog_timeout=120, max_wait=0)
    client = world.ask("a")
    for progress in (0.9, 0.1, 0.2, 0.2):
        world.pass_time(100)
        world.loads[0].on_progress(progress)
        world.settle()
    assert client.told == [Waiting(n_ahead=0), Loading(progress=0.9)]
    assert world.state("a") == "loading"
    world.finish_all()
    assert client.end == Done()


@pytest.mark.parametrize(("limit", "seconds"), [(1, 30), (0, math.inf)])
def test_a_load_has_time_to_start_and_any_time_without_a_watchdog(limit: float, seconds: float) -> None:
    world = World(watchdog_timeout=limit, max_wait=0)
    client = world.ask("a")
    world.pass_time(min(seconds, 10**6) - 1)
    assert client.end is None
    world.pass_time(1)
    assert (client.end is None) == (seconds == math.inf)
