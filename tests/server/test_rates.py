"""Requests and tokens of a key in a minute: counted apart, told when to come again, and never lost to a Redis."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from hoshikage.errors import ParameterError
from hoshikage.server.problem import Problem
from hoshikage.server.rates import Rates
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
    assert not rates._counters
