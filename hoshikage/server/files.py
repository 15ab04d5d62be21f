"""Looks at files, on threads of their own: a disk that hangs holds some of these, and none that other requests need.

As many threads as a process has for all other work would soon wait for it, and every request for one of them. A thread
that hangs cannot be ended, so that whoever wants something of the same files waits for few of them, and not for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from hoshikage.server.problem import Problem

T = TypeVar("T")
PATIENCE = 15.0  # seconds: a disk that sleeps is awake by then
N_THREADS = 64  # that many models may lie on disks that hang
N_ALIKE = 4  # threads of them for what is done anew for every request to the same files


async def in_time(looking: asyncio.Future[T]) -> T:
    """What a look gives that others wait for as well. Raises Problem 503 when it hangs."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(looking)
    except TimeoutError:
        looking.add_done_callback(partial(come_late, nothing))
        raise stuck() from None


def stuck() -> Problem:
    sentence = f"model files could not be looked at within {PATIENCE:g} s; see whether a disk or a mount hangs"
    return Problem(503, sentence, "stuck", headers={"retry-after": "10"})


def come_late(undo: Callable[[T], object], done: asyncio.Future[T]) -> None:
    """What nobody waits for any more is done. That it failed is asked for, or else asyncio logs that nobody has."""
    if not done.cancelled() and done.exception() is None:
        undo(done.result())


def nothing(_: object) -> None:
    """There is nothing to undo."""


class Files:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(N_THREADS, "files")
        self._looking: dict[Hashable, asyncio.Future[Any]] = {}
        self._places: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    def begin(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """On a thread of its own, however long it takes."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def look(self, what: Hashable, work: Callable[[], T]) -> T:
        """What the work gives: all who want the same wait for one thread. Raises Problem 503 when it hangs."""
        if what not in self._looking:
            self._looking[what] = self.begin(work)
            self._looking[what].add_done_callback(lambda _: self._looking.pop(what))
        looking: asyncio.Future[T] = self._looking[what]
        return await in_time(looking)

    async def do(self, what: Hashable, work: Callable[[], T], undo: Callable[[T], object] = nothing) -> T:
        """The same of what changes something, and is done for each who wants it: few at a time of the same `what`.

        Raises Problem 503 when it hangs; `undo` is called with what it gives when nobody waits for it any more.
        """
        places = self._places.setdefault(what, asyncio.Semaphore(N_ALIKE))
        doing: asyncio.Future[T] | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                await places.acquire()
                doing = self.begin(work)
                doing.add_done_callback(lambda _: places.release())
                return await asyncio.shield(doing)
        except BaseException as error:
            if doing is not None:
                doing.add_done_callback(partial(come_late, undo))
            if isinstance(error, TimeoutError):
                raise stuck() from None
            raise

    def close(self) -> None:
        """Waits for the looks that are on their way."""
        self._threads.shutdown()
