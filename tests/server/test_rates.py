"""Requests and tokens of a key in a minute: counted apart, told when to come again, and never lost to a Redis."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hoshikage.errors import ParameterError
from hoshikage.server.problem import Problem
from hoshikage.server.rates import AGAIN, Counters, Rates
from hoshikage.settings import Settings
from tests.server.client import Answer, until
from tests.server.conftest import NewServer, Server


def refused(answer: Answer) -> bool:
    """Whether it was one too many; the client is told when to come again."""
    if answer.status != 429:
        assert answer.status == 200, answer.body
        return False
    assert answer.error["code"] == "rate_limit_exceeded" and answer.error["type"] == "rate_limit_error"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    return True


def test_requests_of_a_key(new_server: NewServer) -> None:
    client = new_server(HOSHIKAGE_API_KEYS="one,two", HOSHIKAGE_REQUESTS_PER_MINUTE="40").client
    one, two = {"Authorization": "Bearer one"}, {"x-api-key": "two"}
    body = {"model": "fake", "tokens": [104]}
    # A minute may begin in between, but not twice.
    outcomes = [refused(client.post("/detokenize", body, **one)) for _ in range(81)]
    assert 1 <= sum(outcomes) <= 41 and not any(outcomes[:40])
    assert not refused(client.post("/detokenize", body, **two)), "keys are counted apart"
    assert client.get("/v1/models", **one).status == 200, "looking costs nothing"
    assert client.post("/detokenize", body).status == 401


def test_tokens_of_a_key(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_TOKENS_PER_MINUTE="100")
    answer = server.client.complete("x" * 80, max_tokens=30, early_stop=False)
    n_tokens = answer.json["usage"]["total_tokens"]
    assert n_tokens > 100, "nobody knew before how long it would be"
    later = [refused(server.client.complete("x", max_tokens=1)) for _ in range(2)]
    assert any(later)
    stream = server.client.complete("x", max_tokens=1, stream=True)
    assert stream.status in (200, 429)


def wait_for_gone(server: Server, n: int) -> None:
    until(lambda: server.log.read_text().count("gone=True") >= n, "it has left")


def test_tokens_of_an_answer_that_nobody_waits_for(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_TOKENS_PER_MINUTE="500")
    wish = {"model": "fake-slow", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 400, "stream": True,
            "early_stop": False, "steps": 400}  # fmt: skip
    for n in range(1, 4):
        with server.client.begin(wish) as connection:
            connection.recv(1 << 16)
        wait_for_gone(server, n)
    notes = [line for line in server.log.read_text().splitlines() if "gone=True" in line]
    assert all("n_tokens=" in line for line in notes), notes
    n_tokens = sum(int(n) for line in notes for n in re.findall(r"n_(?:prompt|tokens)=(\d+)", line))
    until(lambda: settled_in(server) > 0, "counted for the owner")
    n_more = next(n for n in range(20) if refused(server.client.complete("x" * 90, max_tokens=1)))
    assert n_tokens + 91 * n_more >= 500 > n_tokens + 91 * (n_more - 1), "what nobody waited for is spent as well"


def test_tokens_of_an_answer_whose_time_was_up(new_server: NewServer) -> None:
    """Its client has its end before the model has: what was written until then counts all the same."""
    server = new_server(HOSHIKAGE_TOKENS_PER_MINUTE="100")
    wish = {"model": "fake-slow", "max_tokens": 1500, "steps": 1500, "early_stop": False, "stream": True}
    server.client.complete("x", model="fake-slow", max_tokens=1)  # that it is loaded takes none of the time
    answers = [server.client.complete("x", **wish, timeout=0.25) for _ in range(8)]
    assert any(answer.status == 200 and b"processing_timeout" in answer.body for answer in answers)
    assert any(answer.status == 429 and refused(answer) for answer in answers), "what was written in vain is counted"
    until(lambda: settled_in(server) > 100, "and seen by whoever looks at the numbers")
    until(lambda: "n_tokens=" in line_in(server.log, "request, afterwards"), "and by whoever reads the log")


def line_in(log: Path, what: str) -> str:
    """The first line that says so, or nothing."""
    return next((line for line in log.read_text().splitlines() if what in line), "")


def settled_in(server: Server) -> float:
    """Tokens of answers, as the server counts them for its owner."""
    lines = server.client.get("/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("hoshikage_settled_tokens_total"))


def test_each_door_says_it_in_its_own_words(new_server: NewServer) -> None:
    client = new_server(HOSHIKAGE_REQUESTS_PER_MINUTE="1").client
    body = {"model": "fake", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
    answers = [client.post("/v1/messages", body) for _ in range(3)]
    errors = [answer.json["error"]["type"] for answer in answers if answer.status == 429]
    assert errors and set(errors) == {"rate_limit_error"}
    answers = [client.post("/api/diffusion/generate", {"text": "a", "max_length": 2, "model_id": "fake"}) for _ in "ab"]
    assert any(answer.status == 429 and answer.json["success"] is False for answer in answers)


def test_a_redis_that_is_not_there_lets_nobody_in_twice() -> None:
    pytest.importorskip("redis")
    rates = Rates(Settings(requests_per_minute=5, limits_url="redis://127.0.0.1:1"))

    async def live() -> int:
        n_refused = 0
        for _ in range(11):
            try:
                await rates.enter("me")
            except Problem:
                n_refused += 1
        return n_refused

    assert 1 <= asyncio.run(live()) <= 6


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a Redis that takes what it is asked, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"


def test_a_redis_that_hangs_is_asked_once(new_server: NewServer, silent: str) -> None:
    pytest.importorskip("redis")
    limits = {"HOSHIKAGE_TOKENS_PER_MINUTE": "10000", "HOSHIKAGE_REQUESTS_PER_MINUTE": "100"}
    server = new_server(HOSHIKAGE_LIMITS_URL=silent, **limits)
    assert all(server.client.complete("x", max_tokens=1).status == 200 for _ in range(10))
    assert server.log.read_text().count("counted here alone") == 1
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("url", ["http://example.com", "nonsense", "http:redis", "memcached://x"])
def test_an_address_of_nothing_says_so_without_repeating_it(url: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Rates(Settings(requests_per_minute=5, limits_url=url))
    assert url not in str(caught.value)


def test_who_sets_no_limit_counts_nothing() -> None:
    rates = Rates(Settings())

    async def live() -> None:
        for _ in range(3):
            rates.spend("me", 10**9)
            await rates.enter("me")

    asyncio.run(live())
    assert rates._counters is None


class Shared:
    """A counter that others share: it answers, refuses, or hangs, as a test says."""

    def __init__(self) -> None:
        self.n_asked = 0
        self.does: Callable[[], Awaitable[str]] = self.answers

    async def answers(self) -> str:
        return "shared"

    async def refuses(self) -> str:
        raise ConnectionError("nobody is there")

    async def hangs(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError("it never comes to this")

    async def ask(self) -> str:
        self.n_asked += 1
        return await self.does()


class Own:
    """This server's own."""

    async def ask(self) -> str:
        return "own"


@pytest.mark.parametrize("trouble", ["refuses", "hangs"])
def test_a_shared_counter_is_left_alone_while_it_is_away(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hoshikage.server.rates.PATIENCE", 0.05)
    caplog.set_level("INFO", "hoshikage")
    shared, now = Shared(), [0.0]
    counters = Counters(Own(), shared, lambda: now[0])

    async def ask(n: int = 1) -> list[str]:
        return await asyncio.gather(*(counters.ask(lambda counter: counter.ask()) for _ in range(n)))

    async def live() -> None:
        assert await ask(3) == ["shared"] * 3
        shared.does = getattr(shared, trouble)
        assert await ask(3) == ["own"] * 3, "who came before it was known of"
        shared.n_asked = 0
        assert (await ask(5), shared.n_asked) == (["own"] * 5, 0)
        now[0] += AGAIN
        assert (await ask(5), shared.n_asked) == (["own"] * 5, 1), "one of them tries"
        now[0] += AGAIN
        shared.does = shared.answers
        assert await ask() == ["shared"]
        assert (await ask(5), shared.n_asked) == (["shared"] * 5, 7)

    asyncio.run(live())
    levels = [record.levelname for record in caplog.records if record.name == "hoshikage.server.rates"]
    assert levels == ["WARNING", "INFO"], "told at each change, and only then"


def test_nobody_waits_for_what_is_spent_and_the_end_of_a_server_does() -> None:
    rates, shared = Rates(Settings(tokens_per_minute=5)), Shared()
    counted = []

    async def hit(*_: Any, cost: int) -> None:
        await asyncio.sleep(0)
        counted.append(cost)

    async def live() -> None:
        shared.hit = hit  # type: ignore[attr-defined]
        rates._counters = Counters(shared)
        rates.spend("me", 7)
        assert not counted
        await rates.finish()
        assert counted == [7] and not rates._spending

    asyncio.run(live())
