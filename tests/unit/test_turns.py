"""Turns: never more than may be, keys in turn, in order of arrival within one, none lost, and no line without end."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.errors import QueueFullError
from hoshikage.manager.queue import Gate
from hoshikage.server.reynard.turns import Place, Turns

MOVES = st.lists(st.tuples(st.sampled_from(["stand", "leave", "give up", "allow"]), st.integers(0, 9)))


def called(places: list[Place]) -> list[bool]:
    return [place.turn.done() for place in places]


@given(st.integers(1, 4), MOVES)
def test_laws(n: int, moves: list[tuple[str, int]]) -> None:
    async def live() -> None:
        gate = Gate(1000)
        turns, standing, most = Turns(n, gate), list[Place](), n
        for what, number in moves:
            if what == "stand":
                standing.append(turns.stand("abc"[number % 3]))
            elif what == "leave" and standing:
                turns.leave(standing.pop(number % len(standing)))
            elif what == "give up" and standing:
                place = standing[number % len(standing)]
                turns.give_up(place)
                standing = [other for other in standing if not other.turn.cancelled()]
            elif what == "allow":
                most = 1 + number % 4
                turns.allow(most)
            assert turns.n_taken == sum(called(standing))
            for key in "abc":
                of_key = called([place for place in standing if place.key == key])
                assert of_key == sorted(of_key, reverse=True), "within a key who came first goes first"
            assert all(called(standing)) or turns.n_taken >= most, "nobody waits for nothing"
            assert turns.n_waiting == len(standing) - turns.n_taken == gate.n_waiting
            assert gate.n_inside == len(standing)
        for place in standing:
            turns.leave(place)
        assert turns.n_taken == turns.n_waiting == gate.n_inside == gate.n_waiting == 0

    asyncio.run(live())


def test_a_key_waits_for_one_turn_of_each_other() -> None:
    async def live() -> None:
        turns = Turns(1, Gate(100))
        many = [turns.stand("many") for _ in range(20)]
        one = turns.stand("one")
        turns.leave(many[0])
        turns.leave(many[1])
        assert one.turn.done() and not many[2].turn.done()

    asyncio.run(live())


def test_those_who_leave_the_line_leave_nothing_in_it() -> None:
    async def live() -> None:
        turns = Turns(1, Gate(2))
        at_work = turns.stand("a")
        for _ in range(10):
            turns.give_up(turns.stand("b"))
        turns.give_up(at_work)
        assert turns.n_taken == 1, "who is at work has nothing to give up"
        assert not at_work.turn.cancelled()

    asyncio.run(live())


def test_the_line_and_what_a_key_has_in_it_are_bounded() -> None:
    async def live() -> None:
        short = Turns(1, Gate(2))
        for _ in range(3):
            short.stand("a")
        with pytest.raises(QueueFullError):
            short.stand("b")
        fair = Turns(1, Gate(100, 2))
        first, _ = fair.stand("a"), fair.stand("a")
        with pytest.raises(QueueFullError):
            fair.stand("a")
        fair.stand("b")
        fair.leave(first)
        fair.stand("a")

    asyncio.run(live())
