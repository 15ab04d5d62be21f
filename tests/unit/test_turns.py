"""Turns: never more than may be, in order of arrival, and none is lost."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from hoshikage.server.reynard.turns import Turns


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["stand", "leave", "allow"]), st.integers(0, 9))))
def test_laws(n: int, moves: list[tuple[str, int]]) -> None:
    async def live() -> None:
        turns, standing, most = Turns(n), list[asyncio.Future[None]](), n
        for what, number in moves:
            if what == "stand":
                standing.append(turns.stand())
            elif what == "leave" and standing:
                turns.leave(standing.pop(number % len(standing)))
            elif what == "allow":
                most = 1 + number % 4
                turns.allow(most)
            called = [place.done() for place in standing]
            assert turns.n_taken == sum(called)
            assert called == sorted(called, reverse=True), "who came first goes first"
            assert all(called) or turns.n_taken >= most, "nobody waits for nothing"
            assert turns.n_waiting == len(called) - sum(called)
        for place in list(standing):
            turns.leave(place)
        assert turns.n_taken == turns.n_waiting == 0

    asyncio.run(live())
