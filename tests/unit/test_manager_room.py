"""The manager's rules in a world without threads: who makes room for whom, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from hoshikage.errors import Cancelled, NoRoomError, WaitedTooLong
from hoshikage.manager.keeper import OVERTAKEN
from hoshikage.manager.place import NoRoom
from hoshikage.worker.ask import Done
from tests.world import Client, World

# -- who goes


def test_the_least_recently_used_makes_room() -> None:
    world = World(max_resident=2)
    world.have("a", "b")
    world.pass_time(1)
    world.have("a")
    world.pass_time(1)
    world.have("c")
    assert sorted(worker.label for worker in world.living()) == ["a", "c"]


def test_a_busy_model_keeps_others_waiting_for_its_turn_and_no_longer() -> None:
    world = World(max_resident=1, n_seq=1)
    world.have("a")
    clients_a = [world.ask("a") for _ in range(100)]
    world.pass_time(1)
    client_b = world.ask("b")
    while world.state("a") == "resident":
        world.pass_time(1)
        world.finish(world.worker("a").asks[0])
    assert world.time == pytest.approx(11, abs=1)
    world.run_errands()
    assert [worker.label for worker in world.living()] == ["b"]
    assert len(world.worker("b").asks) == 1
    world.finish_all()
    assert isinstance(client_b.end, Done)
    assert all(isinstance(client.end, Done) for client in clients_a)


def test_two_models_in_one_place_change_no_faster_than_their_turns() -> None:
    world = World(max_resident=1, n_seq=1, max_wait=0)
    clients = [world.ask("ab"[i % 2]) for i in range(200)]
    n_seconds = 0
    while not all(client.end for client in clients):
        world.run_errands()
        world.pass_time(1)
        n_seconds += 1
        for worker in world.living():
            if worker.asks:
                world.finish(worker.asks[0])
        assert n_seconds < 1000
    assert len(world.loads) <= 2 + n_seconds / 10
    assert n_seconds <= 1.2 * 200, "little time is lost"


def test_pinned_models_leave_no_room() -> None:
    world = World(max_resident=1, pinned=("a",))
    world.have("a")
    client = world.ask("b")
    assert isinstance(client.error, NoRoomError)
    assert world.state("a") == "resident"


def test_memory_is_made_by_those_who_are_idle() -> None:
    world = World(memory=10, sizes={"a": 4, "b": 4, "c": 4})
    world.have("a")
    world.pass_time(1)
    world.have("b")
    world.pass_time(1)
    client = world.ask("c")
    world.finish_all()
    assert isinstance(client.end, Done)
    assert sorted(worker.label for worker in world.living()) == ["b", "c"]


def test_what_does_not_fit_although_all_have_left_is_refused_with_the_figures_and_may_fit_later() -> None:
    world = World(memory=10, sizes={"a": 4, "big": 2_000_010})
    world.have("a")
    client = world.ask("big")
    world.finish_all()
    assert isinstance(client.error, NoRoomError)
    assert "2000000 bytes are missing" in str(client.error)
    assert [load.terms.makes_do for load in world.loads] == [False, False, False, True]
    assert world.living() == [], "whoever could leave has left before"
    world.memory = 10**9
    world.pass_time(1)
    later = world.ask("big")
    world.finish_all()
    assert isinstance(later.end, Done)


def test_copies_of_no_use_make_room_first() -> None:
    world = World(memory=10, sizes={"a": 4, "b": 8})
    world.stages = True
    world.have("a")
    world.do(lambda: world.steward.unload("a"))
    world.run_errands()
    client = world.ask("b")
    world.loads[-1].outcome = NoRoom(1)
    world.run_errand()
    world.run_errands()
    assert world.copies[0].removed
    assert not world.copies[1].removed
    world.finish_all()
    assert isinstance(client.end, Done)


def test_a_load_that_nobody_waits_for_any_more_makes_room() -> None:
    world = World(max_resident=1)
    gone = world.ask("a")
    client = world.ask("b")
    assert gone.request is not None
    gone.request.cancel()
    world.settle()
    assert isinstance(gone.error, Cancelled)
    world.run_errand(1)
    assert world.loads[0].cancelled
    world.finish_all()
    assert isinstance(client.end, Done)
    assert [worker.label for worker in world.workers] == ["b"]


# -- room that is wanted no more


def asked_to_make_room(**settings: Any) -> tuple[World, Client, Client]:
    """A model with a long answer and places left, which is to leave as soon as that is done; and who wants its room."""
    world = World(**{"max_resident": 1, "n_seq": 8, **settings})
    world.have("a")
    served, wanting = world.ask("a", wait=0), world.ask("b")
    world.pass_time(13)
    assert world.state("a") == "draining"
    return world, served, wanting


def test_who_is_to_make_room_stays_when_nobody_wants_it_any_more() -> None:
    world, served, wanting = asked_to_make_room()
    waiting = world.ask("a")
    assert len(world.worker("a").asks) == 1
    world.cancel(wanting)
    assert world.state("a") == "resident"
    assert len(world.worker("a").asks) == 2, "who came meanwhile is served beside the first"
    world.finish_all()
    assert (served.end, waiting.end, len(world.loads)) == (Done(), Done(), 1)


def test_who_is_to_make_room_stays_when_all_who_wanted_it_have_waited_too_long() -> None:
    world, _, wanting = asked_to_make_room(max_wait=20)
    world.pass_time(7)
    assert isinstance(wanting.error, WaitedTooLong)
    assert world.state("a") == "resident"


def test_who_is_to_make_room_stays_when_another_has_made_it() -> None:
    world = World(max_resident=2, n_seq=8)
    world.have("a", "c")
    world.ask("a", wait=0)
    world.ask("c", wait=0)
    world.ask("b")
    world.pass_time(13)
    assert (world.state("a"), world.state("c")) == ("draining", "resident")
    world.worker("c").die()
    world.settle()
    world.run_errands()
    assert (world.state("a"), world.state("b")) == ("resident", "resident")


def test_who_is_to_make_room_has_no_second_turn_while_others_wait_one_after_the_other() -> None:
    world, served, wanting = asked_to_make_room()
    later = world.ask("b")
    world.cancel(wanting)
    assert world.state("a") == "draining"
    assert served.end is None
    world.finish_all()
    assert (served.end, later.end) == (Done(), Done())


@pytest.mark.parametrize("why", ["unload", "forget", "another file"])
def test_who_leaves_for_another_reason_as_well_does_not_stay(why: str) -> None:
    world, _, wanting = asked_to_make_room()
    if why == "another file":
        world.ask("a", identity=2)
    else:
        world.do(lambda: getattr(world.steward, why)("a"))
    world.cancel(wanting)
    assert world.state("a") == "draining"


# -- who fits meanwhile


def with_one_that_waits_for_room(**sizes: int) -> tuple[World, Client]:
    """A model that is at work for long, and one that there is no room for beside it."""
    world = World(memory=10, sizes={"a": 4, "b": 8, **sizes}, n_seq=8, idle_timeout=0)
    world.have("a")
    world.ask("a", wait=0)
    wanting = world.ask("b", wait=0)
    world.run_errands()
    world.pass_time(13)
    assert world.state("a") == "draining"
    return world, wanting


def bring(world: World, label: str) -> None:
    """Have it in memory, while the others stay at what they do."""
    world.ask(label)
    world.run_errands()
    world.finish(world.worker(label).asks[0])


def test_a_model_that_fits_does_not_wait_with_one_that_does_not() -> None:
    world, wanting = with_one_that_waits_for_room(c=4)
    client = world.ask("c")
    assert world.state("c") == "loading"
    assert world.state("a") == "draining", "its room is wanted as before"
    world.run_errands()
    world.finish(world.worker("c").asks[0])
    assert (client.end, wanting.end, world.time) == (Done(), None, 13)
    world.finish(world.worker("a").asks[0])
    world.run_errands()
    assert [worker.label for worker in world.living()] == ["b"], "who is idle makes room as ever"


def test_a_model_that_fits_does_not_wait_while_another_has_its_turn() -> None:
    world = World(memory=10, sizes={"a": 4, "b": 8, "c": 4})
    world.have("a")
    for label in "abc":
        world.ask(label)
        world.run_errands()
    assert (world.time, world.state("a"), world.state("c")) == (0, "resident", "resident")


def test_nobody_takes_the_room_that_is_becoming_free_for_another() -> None:
    world, _ = with_one_that_waits_for_room(c=4)
    world.finish(world.worker("a").asks[0])
    world.ask("c")
    assert world.state("c") == "cold"
    world.run_errands()
    assert world.state("b") == "resident"


def test_a_model_that_does_not_fit_either_asks_nobody_to_go() -> None:
    world, _ = with_one_that_waits_for_room(c=1, d=7)
    bring(world, "c")
    world.ask("d")
    world.run_errands()
    world.pass_time(100)
    assert (world.state("c"), world.state("d"), len(world.loads)) == ("resident", "cold", 4)


def test_a_model_that_waits_for_room_is_overtaken_only_so_often() -> None:
    small = {f"c{i}": 1 for i in range(OVERTAKEN + 1)}
    world, wanting = with_one_that_waits_for_room(**small)
    for label in small:
        world.ask(label)
        world.run_errands()
    *passed, last = small
    assert [world.state(label) for label in passed] == ["resident"] * OVERTAKEN
    assert world.state(last) == "cold"
    for label in ("a", *passed):
        world.finish(world.worker(label).asks[0])
    world.run_errands()
    assert world.state("b") == "resident"
    world.finish_all()
    assert wanting.end == Done()


def test_a_model_that_has_come_may_be_overtaken_again() -> None:
    world, _ = with_one_that_waits_for_room(c=1)
    place = world.steward.keeper.places["b"]
    bring(world, "c")
    assert place.n_overtaken == 1
    world.finish(world.worker("a").asks[0])
    world.run_errands()
    assert (world.state("b"), place.n_overtaken) == ("resident", 0)


def test_a_model_that_nobody_waits_for_any_more_may_be_overtaken_again() -> None:
    world, wanting = with_one_that_waits_for_room(c=1)
    bring(world, "c")
    world.cancel(wanting)
    world.ask("b")
    assert world.steward.keeper.places["b"].n_overtaken == 0


def test_a_model_that_rests_after_a_death_comes_while_another_waits_for_room() -> None:
    world, _ = with_one_that_waits_for_room(c=4)
    for _ in range(2):
        client = world.ask("c")
        world.run_errands()
        world.worker("c").die()
        world.settle()
        world.run_errands()
    client = world.ask("c")
    assert world.state("c") == "cold"
    world.pass_time(1)
    assert world.state("c") == "loading"
    assert client.end is None
