"""Looks at all models: shared by all who watch, and never older than what somebody has seen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from hoshikage.manager.state import ModelState
from hoshikage.server.files import Files
from hoshikage.server.lookout import Look, Lookout
from hoshikage.server.problem import Problem


class Models:
    """A manager whose models are looked at, and counts how often."""

    def __init__(self) -> None:
        self.n_looks = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.fails = False

    def __call__(self) -> Sequence[ModelState]:
        self.n_looks += 1
        assert self.may_end.wait(60)
        if self.fails:
            raise OSError("the disk is gone")
        return [ModelState(label=str(self.n_looks), state="cold")]


async def many(lookout: Lookout, after: float) -> list[Look]:
    return await asyncio.gather(*(lookout.look(after) for _ in range(100)))


def test_a_hundred_watchers_look_once() -> None:
    async def live() -> None:
        models = Models()
        lookout = Lookout(Files(), models)
        first = await lookout.look()
        shared = await many(lookout, first.began)
        assert models.n_looks == 2 and {id(look) for look in shared} == {id(shared[0])}
        assert shared[0].began > first.began and shared[0].states[0].label == "2"
        assert await lookout.look(first.began) is shared[0], "it is recent enough"
        assert models.n_looks == 2

    asyncio.run(live())


def test_who_comes_while_somebody_looks_waits_for_the_next_look() -> None:
    """The one under way may have passed a model that has changed since."""

    async def live() -> None:
        models = Models()
        lookout = Lookout(Files(), models)
        models.may_end.clear()
        before = asyncio.create_task(lookout.look())
        while not models.n_looks:
            await asyncio.sleep(0)
        coming = asyncio.create_task(many(lookout, time.monotonic()))
        await asyncio.sleep(0)
        models.may_end.set()
        old, new = await before, await coming
        assert models.n_looks == 2 and all(look.began > old.began for look in new)

    asyncio.run(live())


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoshikage.server.files.PATIENCE", 0.01)

    async def live() -> None:
        models = Models()
        lookout = Lookout(Files(), models)
        models.may_end.clear()
        for _ in range(3):
            with pytest.raises(Problem, match="a disk or a mount hangs"):
                await lookout.now()
        assert models.n_looks == 1, "no further thread hangs"
        monkeypatch.undo()
        models.may_end.set()
        assert await lookout.now()

    asyncio.run(live())


def test_one_who_leaves_and_one_look_that_fails_hurt_nobody_else() -> None:
    async def live() -> None:
        models = Models()
        lookout = Lookout(Files(), models)
        models.may_end.clear()
        leaves, stays = asyncio.create_task(lookout.look()), asyncio.create_task(lookout.look())
        await asyncio.sleep(0)
        leaves.cancel()
        models.may_end.set()
        seen = await stays
        models.fails = True
        with pytest.raises(OSError, match="disk"):
            await lookout.look(seen.began)
        models.fails = False
        assert (await lookout.look(seen.began)).began > seen.began

    asyncio.run(live())
