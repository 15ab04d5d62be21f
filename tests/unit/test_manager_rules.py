"""The manager's rules in a world without threads: how models come and go."""

from __future__ import annotations

import pytest

from hoshikage.errors import Cancelled, QueueFullError, WaitedTooLong
from hoshikage.manager.view import pulse_of, states_of
from hoshikage.registry import Catalogue
from hoshikage.worker.ask import Answered, Done, Loading, Waiting
from tests.world import World, answered

# -- coming


def test_one_load_serves_all_who_wait() -> None:
    world = World()
    clients = [world.ask("a") for _ in range(10)]
    assert len(world.loads) == 1
    assert world.state("a") == "loading"
    world.finish_all()
    assert all(isinstance(client.end, Done) for client in clients)
    assert len(world.loads) == 1


def test_those_who_wait_hear_where_they_stand_and_how_far_the_load_is() -> None:
    world = World()
    first, second = world.ask("a"), world.ask("a")
    world.loads[0].on_progress(0.5)
    world.loads[0].on_progress(0.4)
    world.loads[0].on_progress(0.501)
    world.settle()
    assert first.told == [Waiting(n_ahead=0), Loading(progress=0.5)]
    assert second.told == [Waiting(n_ahead=1), Loading(progress=0.5)]
    third = world.ask("a")
    assert third.told == [Waiting(n_ahead=2), Loading(progress=0.501)]
    world.finish_all()
    assert first.told[-1] == Done()


def test_a_load_that_is_not_further_but_moves_is_not_stuck() -> None:
    world = World()
    client = world.ask("a", wait=0)
    for _ in range(3):
        world.loads[0].on_progress(1.0)
        world.settle()
        world.pass_time(100)
    pulse = pulse_of(world.steward, world.gate, None, world.time, 120)
    assert (pulse.still_for, pulse.stuck) == (100, False)
    assert client.told == [Waiting(n_ahead=0), Loading(progress=1.0)]


def test_who_finds_room_hears_of_no_line() -> None:
    world = World()
    world.have("a")
    client = world.ask("a")
    assert client.told == []
    world.finish_all()
    assert client.told == [Done()]


def test_a_place_in_the_line_is_told_when_it_has_halved() -> None:
    world = World(n_seq=1)
    world.have("a")
    for _ in range(10):
        world.ask("a")
    last = world.ask("a")
    world.finish_all()
    assert [event.n_ahead for event in last.told if isinstance(event, Waiting)] == [9, 4, 2, 1, 0]


def test_no_more_are_handed_over_than_decode_side_by_side() -> None:
    world = World(n_seq=2)
    world.have("a")
    for _ in range(5):
        world.ask("a")
    assert len(world.worker("a").asks) == 2
    world.finish(world.worker("a").asks[0])
    assert len(world.worker("a").asks) == 2


def test_questions_without_a_pass_do_not_wait_for_a_place_in_the_batch() -> None:
    world = World(n_seq=1)
    world.have("a")
    world.ask("a")
    world.ask("a")
    light = world.ask("a", kind="tokenize")
    assert [ask.ask.kind for ask in world.worker("a").asks] == ["generate", "tokenize"]
    world.finish(world.worker("a").asks[1])
    assert light.told == [Done()]


def test_questions_without_a_pass_are_bounded_in_number_and_in_time() -> None:
    world = World(n_seq=1, max_waiting=3, max_wait=60)
    world.have("a")
    world.ask("a")
    handed_over = [world.ask("a", kind="tokenize") for _ in range(3)]
    waiting = [world.ask("a", kind="tokenize") for _ in range(3)]
    assert len(world.worker("a").asks) == 4
    with pytest.raises(QueueFullError):
        world.ask("a", kind="tokenize")
    world.pass_time(60)
    assert all(isinstance(client.error, WaitedTooLong) for client in (*handed_over, *waiting))
    assert [ask.cancelled for ask in world.worker("a").asks] == [False, True, True, True]
    for ask in world.worker("a").asks[1:]:
        world.finish(ask)
    assert [ask.ask.kind for ask in world.worker("a").asks] == ["generate"], "whose turn has come waits for no more"


def test_keys_take_turns() -> None:
    world = World(n_seq=1)
    world.have("a")
    many = [world.ask("a", "many") for _ in range(20)]
    one = world.ask("a", "one")
    for _ in range(3):
        world.finish(world.worker("a").asks[0])
    assert one.end is not None
    assert sum(client.end is not None for client in many) == 2


def test_what_a_load_had_to_give_up_is_a_warning_of_each_answer() -> None:
    world = World()
    client = world.ask("a")
    world.loads[0].notes = ("12 of 32 layers are on the CPU",)
    world.run_errands()
    ask = world.worker("a").asks[0]
    ask.tell(answered("text"))
    world.finish(ask)
    assert [event.warnings for event in client.told if isinstance(event, Answered)] == [
        ("12 of 32 layers are on the CPU",)
    ]


# -- going


def test_an_idle_model_leaves_after_its_time_and_not_before() -> None:
    world = World(idle_timeout=300)
    world.have("a")
    world.pass_time(200)
    world.ask("a")
    world.pass_time(1000)
    world.finish_all()
    world.pass_time(299)
    assert world.state("a") == "resident"
    world.pass_time(1)
    assert world.state("a") == "draining"
    world.run_errands()
    assert world.state("a") == "cold"
    assert world.living() == []


def test_a_request_at_the_instant_of_the_unload_is_served_by_a_new_load() -> None:
    world = World(idle_timeout=300)
    world.have("a")
    world.pass_time(300)
    assert world.state("a") == "draining"
    client = world.ask("a")
    assert client.told == [Waiting(n_ahead=0)]
    world.finish_all()
    assert isinstance(client.end, Done)
    assert len(world.loads) == 2


@pytest.mark.parametrize(("keep", "stays"), [(0.0, 0.0), (10.0, 10.0), (-1.0, 1e9), (None, 300.0)])
def test_a_request_says_how_long_its_model_stays(keep: float | None, stays: float) -> None:
    world = World(idle_timeout=300)
    world.have("a")
    world.ask("a", keep_alive=keep)
    world.finish_all()
    world.pass_time(stays * 0.99)
    world.run_errands()
    assert world.state("a") == ("resident" if stays else "cold")
    world.pass_time(stays * 0.02)
    world.run_errands()
    assert world.state("a") == ("cold" if stays < 1e9 else "resident")


def test_what_a_request_said_about_staying_is_over_with_the_unload() -> None:
    world = World(idle_timeout=300)
    world.ask("a", keep_alive=-1.0)
    world.finish_all()
    world.do(lambda: world.steward.unload("a"))
    world.run_errands()
    world.have("a")
    world.pass_time(300)
    assert world.state("a") == "draining"


def test_when_to_come_back_follows_the_pace_and_not_the_pauses() -> None:
    world = World(n_seq=1, max_waiting=20)
    for _ in range(30):
        world.pass_time(100)  # one at a time, each served at once
        world.have("a")
    for _ in range(21):
        world.ask("a")
    with pytest.raises(QueueFullError) as caught:
        world.ask("a")
    assert caught.value.retry_after == 1


def test_zero_and_pins_mean_for_good() -> None:
    world = World(idle_timeout=0)
    world.have("a")
    world.pass_time(1e9)
    assert world.state("a") == "resident"
    world = World(idle_timeout=1, pinned=("a",))
    world.have("a")
    world.pass_time(1e9)
    assert world.state("a") == "resident"


def test_a_staged_copy_outlives_the_model_by_its_own_time() -> None:
    world = World(idle_timeout=300, great_timeout=60)
    world.stages = True
    world.have("a")
    world.pass_time(300)
    world.run_errands()
    assert world.state("a") == "staged"
    world.pass_time(3300)
    world.run_errands()
    assert world.state("a") == "cold"
    assert [copy.removed for copy in world.copies] == [True]


def test_a_staged_copy_that_stays_for_good_goes_with_the_name_of_its_model() -> None:
    world = World(idle_timeout=300, great_timeout=0)
    world.stages = True
    world.have("a", "b")
    world.pass_time(1e9)
    world.run_errands()
    assert (world.state("a"), world.state("b")) == ("staged", "staged")
    world.do(lambda: world.steward.forget("a"))
    world.run_errands()
    assert (world.state("a"), world.state("b")) == ("cold", "staged")
    client = world.ask("b")
    world.run_errands()
    world.do(lambda: world.steward.forget("b"))
    assert world.state("b") == "draining"
    world.finish_all()
    assert client.end == Done()
    assert world.state("b") == "cold"
    assert [copy.removed for copy in world.copies] == [True, True]
    world.have("a")  # its name has come back, and counts as any other
    world.do(lambda: world.steward.unload("a"))
    world.run_errands()
    assert world.state("a") == "staged"


def test_a_copy_can_be_seen_when_the_name_of_its_model_has_gone() -> None:
    world = World()
    world.stages = True
    world.have("a")
    world.do(lambda: world.steward.unload("a"))
    world.run_errands()
    (state,) = states_of(Catalogue(), world.steward.keeper.places, world.time)
    assert (state.label, state.state, state.n_bytes_staged) == ("a", "staged", 10)


def test_a_load_reckons_with_models_and_with_the_copies_of_others() -> None:
    world = World(sizes={"a": 1, "b": 2, "c": 4})
    world.stages = True
    world.have("a", "b")
    world.do(lambda: world.steward.unload("a"))
    world.run_errands()
    world.ask("c")
    assert world.loads[-1].terms.n_bytes_held == 2 + 2 * 10
    world.finish_all()
    world.ask("a")
    assert world.loads[-1].terms.n_bytes_held == 2 + 4 + 2 * 10, "its own copy is the load's to count"


def test_a_staged_copy_is_used_by_the_next_load() -> None:
    world = World(idle_timeout=300, great_timeout=60)
    world.stages = True
    world.have("a")
    world.pass_time(310)
    world.have("a")
    assert len(world.copies) == 1
    assert world.loads[1].staged is world.copies[0]


def test_unload_waits_for_what_is_served() -> None:
    world = World()
    world.have("a")
    client = world.ask("a")
    world.do(lambda: world.steward.unload("a"))
    later = world.ask("a")
    assert world.state("a") == "draining"
    assert world.worker("a").alive
    world.finish(world.worker("a").asks[0])
    world.finish_all()
    assert isinstance(client.end, Done)
    assert isinstance(later.end, Done)
    assert len(world.loads) == 2, "the second was served by a new load"


def test_unload_gives_a_load_up_and_says_so() -> None:
    world = World()
    client = world.ask("a")
    world.do(lambda: world.steward.unload("a"))
    assert isinstance(client.error, Cancelled)
    assert world.loads[0].cancelled is False
    world.run_errand(1)
    assert world.loads[0].cancelled
    world.run_errands()
    assert world.state("a") == "cold"
    later = world.ask("a")
    world.finish_all()
    assert isinstance(later.end, Done)


def test_a_load_that_succeeds_although_it_was_given_up_is_undone() -> None:
    world = World()
    world.ask("a")
    load = world.errands.pop()
    world.do(lambda: world.steward.unload("a"))
    load()
    world.settle()
    assert world.living() != []
    world.run_errands()
    assert world.living() == []
    assert world.state("a") == "cold"


def test_a_file_that_is_another_one_is_loaded_anew() -> None:
    world = World()
    world.have("a")
    running = world.ask("a")
    later = world.ask("a", identity=2)
    assert world.state("a") == "draining"
    world.finish_all()
    assert isinstance(running.end, Done)
    assert isinstance(later.end, Done)
    assert len(world.loads) == 2
    world.ask("a", identity=None)  # it cannot be seen any more: what is loaded goes on
    world.finish_all()
    assert len(world.loads) == 2
