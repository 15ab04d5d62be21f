"""Mixed load while workers are killed at random: no request is stuck, none is answered wrongly, nothing is left behind.

Some seconds by default; SOAK_SECONDS=600 for longer.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from hoshikage.server.files import N_THREADS
from tests.server.client import CHAT, SECONDS, Answer, until
from tests.server.conftest import NewServer, Server, children, descriptors, threads

SOAK = float(os.environ.get("SOAK_SECONDS", "8"))
N_CLIENTS = 8
KILLS, OKS = 4, 10  # at least so many kills, and right answers between two of them
MAY_FAIL = {"inference_failed", "model_load_failed", "cancelled"}  # where a worker was killed

Wish = dict[str, Any]


def wishes() -> list[Wish]:
    """What is asked for again and again; each has one right answer, also where it is rounded otherwise among others."""
    base: Wish = {"messages": [{"role": "user", "content": "hello"}], "temperature": 1}
    real: Wish = {"messages": [{"role": "user", "content": "What is 12+35?"}], "temperature": 1, "model": "nano-ar"}
    return [
        {**base, "model": "fake", "max_tokens": 24, "seed": 1},
        {**base, "model": "fake", "max_tokens": 90, "seed": 2, "diffusing": True},
        {**base, "model": "fake", "max_tokens": 40, "seed": 3, "n": 3},
        {**real, "max_tokens": 24, "seed": 4},
        {**real, "max_tokens": 12, "seed": 5, "stop": ["="]},
    ]


def text_of(answer: Answer, *, stream: bool) -> list[str]:
    """The texts of an answer, by index."""
    texts: dict[int, str] = collections.defaultdict(str)
    chunks = answer.events[:-1] if stream else [answer.json]
    for chunk in chunks:
        for choice in chunk["choices"]:
            said = choice["delta"] if stream else choice["message"]
            texts[choice["index"]] += said.get("content") or ""
    return [texts[i] for i in sorted(texts)]


class Load:
    """Clients that ask until they are told to end."""

    def __init__(self, server: Server, right: list[list[str]]) -> None:
        self._server = server
        self._right = right
        self.over = threading.Event()
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[Any] = []
        self._threads = [threading.Thread(target=self._client, args=(i,)) for i in range(N_CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(2 * SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "a request is stuck"

    def _client(self, number: int) -> None:
        chance = random.Random(number)
        while not self.over.is_set():
            try:
                self._ask(chance)
            except Exception as error:
                self.wrong.append(repr(error))

    def _ask(self, chance: random.Random) -> None:
        i, stream = chance.randrange(len(self._right)), chance.random() < 0.5
        wish = {**wishes()[i], "stream": stream}
        if chance.random() < 0.2:
            with suppress(OSError), self._server.client.begin(wish) as connection:
                connection.settimeout(chance.random() * 0.05)
                connection.recv(100)
            self.counts["left"] += 1
            return
        answer = self._server.client.post(CHAT, wish)
        code = code_of(answer)
        self.counts[code] += 1
        if code not in MAY_FAIL and (code != "ok" or text_of(answer, stream=stream) != self._right[i]):
            self.wrong.append((wish, answer.status, answer.body[-500:]))


def answered(server: Server, wish: Wish) -> Answer | None:
    answer = server.client.post(CHAT, wish)
    return answer if answer.status == 200 else None


def code_of(answer: Answer) -> str:
    """`ok`, or the code of the error, whichever way it came."""
    if answer.status != 200:
        return str(answer.error["code"])
    if answer.headers["content-type"].startswith("text/event-stream") and answer.events[-1] != "[DONE]":
        return str(answer.events[-1]["error"]["code"])
    return "ok"


def kill_now_and_then(server: Server, load: Load) -> int:
    """Kills a worker each time when some more requests have been answered well; returns how many."""
    n_kills, wanted = 0, OKS
    end, pause = time.monotonic() + SOAK, SOAK / KILLS / 2
    while time.monotonic() < end or n_kills < KILLS:
        until(lambda goal=wanted: load.counts["ok"] >= goal or load.wrong, "requests are answered")
        assert not load.wrong, load.wrong[:3]
        if victims := children(server):
            with suppress(ProcessLookupError):
                os.kill(random.Random(n_kills).choice(victims), signal.SIGKILL)
                n_kills += 1
        wanted = load.counts["ok"] + OKS
        load.over.wait(min(pause, 5.0))
    return n_kills


def test_a_soak(new_server: NewServer) -> None:
    server = new_server(IDLE_TIMEOUT="2", HOSHIKAGE_MAX_WAITING="1000")
    right = [text_of(server.client.post(CHAT, wish), stream=False) for wish in wishes()]
    before = descriptors(server.process.pid), threads(server.process.pid)
    with Load(server, right) as load:
        n_kills = kill_now_and_then(server, load)
    assert not load.wrong, load.wrong[:3]
    assert n_kills >= KILLS
    for i, wish in enumerate(wishes()):  # it is as well as before, once no load is put off any more
        answer = until(lambda wish=wish: answered(server, wish), "it answers again")
        assert text_of(answer, stream=False) == right[i]
    until(lambda: not server.client.get("/ready").json["n_active"], "nothing is at work")
    pool = min(32, (os.cpu_count() or 1) + 4) + N_THREADS
    until(lambda: descriptors(server.process.pid) <= before[0] + 4, "descriptors are given back")
    until(lambda: threads(server.process.pid) <= before[1] + pool, "threads are given back")
    assert server.stop() == 0
