"""Looks at files that hang: few threads for the same file, an end for all who wait, and nothing done behind them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from hoshikage.server.files import N_ALIKE, N_THREADS, Files
from hoshikage.server.problem import Problem


class Disk:
    """Counts who comes, and lets them go on when it may."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.n_inside = 0
        self._counting = threading.Lock()

    def look(self) -> int:
        with self._counting:
            self.n_inside += 1
            number = self.n_inside
        assert self.works.wait(60)
        return number


@pytest.fixture
def disk() -> Iterator[Disk]:
    """One that hangs, and works again once the test is over."""
    disk = Disk()
    yield disk
    disk.works.set()


def live(test: Callable[[Files], Coroutine[Any, Any, None]]) -> list[dict[str, Any]]:
    """Run it; what asyncio complains of."""
    complaints: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
        await test(Files())

    asyncio.run(run())
    return complaints


async def problems(*asked: Coroutine[Any, Any, Any]) -> set[str]:
    """The codes of what all of them end with."""
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(end, Problem) for end in ends), ends
    return {end.code for end in ends if isinstance(end, Problem)}


def test_what_is_done_for_each_takes_few_threads(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoshikage.server.files.PATIENCE", 0.2)

    async def test(files: Files) -> None:
        hanging = asyncio.gather(problems(*(files.do("a", disk.look) for _ in range(2 * N_THREADS))))
        assert await problems(files.look("b", disk.look), files.do("c", disk.look)) == {"stuck"}
        assert await hanging == [{"stuck"}]
        while disk.n_inside < N_ALIKE + 2:
            await asyncio.sleep(0)
        assert disk.n_inside == N_ALIKE + 2, "those who waited for a thread are gone with their turn"
        disk.works.set()
        monkeypatch.undo()
        assert await files.do("a", lambda: "done") == "done", "its places are free again"

    assert not live(test)


def test_what_is_done_when_nobody_waits_is_undone(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoshikage.server.files.PATIENCE", 0.05)
    undone: list[int] = []

    async def test(files: Files) -> None:
        gone = asyncio.Event()

        def undo(number: int) -> None:
            undone.append(number)
            gone.set()

        assert await problems(files.do("a", disk.look, undo)) == {"stuck"}
        assert undone == []
        monkeypatch.undo()
        disk.works.set()
        await gone.wait()
        assert undone == [1]
        assert await files.do("a", disk.look, undo) == 2
        leaves = asyncio.create_task(files.do("a", disk.look, undo))
        gone.clear()
        while disk.n_inside < 3:
            await asyncio.sleep(0)
        leaves.cancel()
        await gone.wait()
        assert undone == [1, 3], "whoever got its own keeps it"

    assert not live(test)


def test_what_fails_late_is_no_complaint(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoshikage.server.files.PATIENCE", 0.05)

    async def test(files: Files) -> None:
        def fail() -> None:
            disk.look()
            raise OSError("the disk is gone")

        assert await problems(files.do("a", fail), files.look("b", fail)) == {"stuck"}
        disk.works.set()
        files.close()
        for _ in range(3):  # what the threads have left for the loop
            await asyncio.sleep(0)

    assert not live(test)


def test_what_fails_tells_who_waits() -> None:
    async def test(files: Files) -> None:
        def fail() -> None:
            raise OSError("the disk is gone")

        for asked in (files.do("a", fail), files.look("a", fail)):
            with pytest.raises(OSError, match="gone"):
                await asked

    assert not live(test)
