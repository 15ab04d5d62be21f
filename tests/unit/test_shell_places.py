"""Places of requests at work, in a shell without a socket: taken before anything is waited for, and given back."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from hoshikage.server.problem import Problem
from hoshikage.server.routes import Route, Routes
from hoshikage.server.shell.hosts import Hosts
from hoshikage.server.shell.keys import Keys
from hoshikage.server.shell.limits import Limits
from hoshikage.server.shell.shell import Shell

SCOPE: dict[str, Any] = {
    "type": "http", "method": "POST", "raw_path": b"/work", "query_string": b"", "headers": [(b"host", b"localhost")],
}  # fmt: skip


class Rates:
    """Counted elsewhere: it answers when the test lets it, and refuses where it is told to."""

    def __init__(self, *, refuses: bool) -> None:
        self.answers = asyncio.Event()
        self._refuses = refuses

    async def enter(self, _: str) -> None:
        await self.answers.wait()
        if self._refuses:
            raise Problem(429, "too many a minute", "rate_limit_exceeded")


class World:
    """A shell with two places, and what each request was answered."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.rates = Rates(refuses=refuses)
        self.statuses: Counter[int] = Counter()
        self.n_inside = self.n_most = 0
        silent = SimpleNamespace(error=lambda *_: None, request=lambda *_: None, left=lambda *_: None)
        route = Route(method="POST", path="/work", handle=None, about="work")  # type: ignore[arg-type]
        parts: dict[str, Any] = {"keys": Keys("127.0.0.1", (), None), "metrics": silent, "rates": self.rates}
        self.shell = Shell(
            self._inner, Routes([route], {}), limits=Limits(n_requests=2), hosts=Hosts("127.0.0.1", (), ()), **parts
        )

    async def _inner(self, _: Any, __: Any, send: Any) -> None:
        self.n_inside += 1
        self.n_most = max(self.n_most, self.n_inside)
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        self.n_inside -= 1

    async def ask(self) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        await self.shell({**SCOPE, "client": ("127.0.0.1", 1)}, receive, send)

    async def crowd(self, n: int) -> None:
        """So many at once, all of which are there before the rates are known of."""
        waiting = [asyncio.create_task(self.ask()) for _ in range(n)]
        for _ in range(10):
            await asyncio.sleep(0)
        self.rates.answers.set()
        await asyncio.gather(*waiting)


def test_who_waits_for_the_rates_has_a_place() -> None:
    async def live() -> World:
        world = World()
        await world.crowd(6)
        return world

    world = asyncio.run(live())
    assert world.n_most == 2 and world.statuses == {200: 2, 429: 4}


@pytest.mark.parametrize("refuses", [False, True])
def test_a_place_is_given_back(refuses: bool) -> None:
    async def live() -> Shell:
        world = World(refuses=refuses)
        await world.crowd(6)
        return world.shell

    shell = asyncio.run(live())
    assert shell._n_at_work == 0 and not shell._n_of
