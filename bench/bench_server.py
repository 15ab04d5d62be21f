"""What do HTTP, the manager and a worker's process add to a request?

    pytest bench/bench_server.py -s

The same requests to the same model made of a hash, in this process and over a socket to a real server, in turn. Of a
plain request the median counts; chunks are counted in the processors' time of all processes that have to do with them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytest

from bench.results import record
from hoshikage.engine.engine import Engine
from hoshikage.worker.fake import FakeSpeaker
from tests.server.child import FAKES
from tests.server.client import CHAT, request, until
from tests.server.conftest import Server, children, write_map
from tests.tiny import Shape, write

COMMAND = "pytest bench/bench_server.py -s"
N_STEPS, N_ROUNDS, N_PLAIN, N_STREAMS = 256, 5, 200, 64
N_STARTS = 9
N_SHORT = 32  # so that all canvases fit into one pass
MESSAGES = [{"role": "user", "content": "hello"}]
OPTIONS: dict[str, Any] = {"block_length": 1, "early_stop": False, "seed": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bench")
    write_map(folder, lambda architecture: write(folder / "tiny.gguf", Shape(architecture)))
    server = Server(folder, HOSHIKAGE_BATCH=str(N_STREAMS))
    server.client.chat(max_tokens=2)  # the model is there
    yield server
    server.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(FakeSpeaker(n_ctx=512)) as engine:
        yield engine


def asked(connection: socket.socket, **more: Any) -> tuple[float, bytes]:
    """Seconds until a whole answer is there, and the answer."""
    times, answer = heard(connection, **more)
    return times[-1] - times[0], answer


def heard(connection: socket.socket, **more: Any) -> tuple[list[float], bytes]:
    """When it was asked and when something came, and the answer."""
    data = request(CHAT, json.dumps({"model": "fake", "messages": MESSAGES, **OPTIONS, **more}).encode())
    times = [perf_counter()]
    connection.sendall(data)
    received = bytearray()
    while not is_whole(received):
        received += connection.recv(1 << 16)
        times.append(perf_counter())
    return times, bytes(received)


def is_whole(received: bytearray) -> bool:
    if received.endswith(b"0\r\n\r\n"):
        return True
    head, end, body = bytes(received).partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end and lengths) and len(body) >= int(lengths[0].partition(b":")[2])


def here(engine: Engine, **more: Any) -> float:
    start = perf_counter()
    answer = engine.chat(MESSAGES, **OPTIONS, **more)
    if more.get("stream"):
        assert list(answer)
    return perf_counter() - start


def test_a_plain_request(server: Server, engine: Engine) -> None:
    with server.client.connect() as connection:
        pairs = [(asked(connection, max_tokens=8)[0], here(engine, max_tokens=8)) for _ in range(N_PLAIN)]
    there, own = (1000 * median(column) for column in zip(*pairs, strict=True))
    record(
        "what a server adds to a plain chat request", there - own, "ms", asked="at most 2",
        detail=f"medians of {N_PLAIN}: {there:.2f} and {own:.2f} ms", command=COMMAND,
    )  # fmt: skip
    assert there - own < 2


def test_a_streamed_token(server: Server) -> None:
    """What all processes compute for it, against this one alone; on a machine that keeps up, each is a chunk."""
    long: dict[str, Any] = {"max_tokens": N_STEPS, "stream": True}
    engine = Engine(FakeSpeaker(**FAKES["fake-slow"]))
    rounds: list[tuple[float, float, int]] = []
    with server.client.connect() as connection:
        for _ in range(N_ROUNDS):
            start = computed(server.process.pid, *children(server))
            n_chunks = asked(connection, model="fake-slow", **long)[1].count(b"data: ")
            there = computed(server.process.pid, *children(server)) - start
            start = computed(os.getpid())
            here(engine, **long)
            rounds.append((there, computed(os.getpid()) - start, n_chunks))
    engine.close()
    there, own = min(row[0] for row in rounds), min(row[1] for row in rounds)
    n_chunks = min(row[2] for row in rounds)
    more = 1000 * (there - own) / N_STEPS
    record(
        "what a server computes more for a streamed token", more, "ms", asked="at most 0.3",
        detail=f"{n_chunks} chunks of {N_STEPS} steps, {1000 * there:.1f} and {1000 * own:.1f} ms", command=COMMAND,
    )  # fmt: skip
    assert more < 0.3


def computed(*pids: int) -> float:
    """Seconds that all threads of these processes have computed."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def test_many_streams_at_once(server: Server) -> None:
    """A stream is starved when it hears nothing while others are served."""
    heard_at: list[list[float]] = []

    def stream() -> None:
        with server.client.connect() as connection:
            times, answer = heard(connection, model="fake-slow", max_tokens=N_SHORT, stream=True, diffusing=True)
            assert answer.count(b"data: [DONE]") == 1
            heard_at.append(times)

    threads = [threading.Thread(target=stream) for _ in range(N_STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard_at) == N_STREAMS
    whole = max(times[-1] for times in heard_at) - min(times[0] for times in heard_at)
    silence = max(after - before for times in heard_at for before, after in pairwise(times))
    record(
        f"{N_STREAMS} streams at once: the longest silence of one, against the time of all", silence / whole, "",
        asked="none starved", detail=f"{whole:.2f} s for {N_STREAMS} x {N_SHORT} tokens", command=COMMAND,
    )  # fmt: skip
    assert silence / whole < 0.5


def test_the_start(tmp_path: Path) -> None:
    """From the start of the process until it listens, and until it has answered who came at once."""
    listens, answers = (median(column) for column in zip(*(started(tmp_path) for _ in range(N_STARTS)), strict=True))
    for what, seconds, asked_for in (("listens", listens, "at most 0.4"), ("has answered", answers, "printed beside")):
        record(f"after its start a server {what}", seconds, "s", asked=asked_for, detail=f"median of {N_STARTS}",
               command=COMMAND)  # fmt: skip
    assert listens < 0.4


def started(folder: Path) -> tuple[float, float]:
    """Seconds until both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    words = [sys.executable, "-m", "hoshikage", "serve", "--quiet", "--port", str(address[1])]
    environment = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOSHIKAGE_CONFIG_PATH": ""}
    start = perf_counter()
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
        with until(lambda: connected(address), "it listens", pause=0.001) as connection:
            listens = perf_counter() - start
            connection.sendall(request("/health", b"", "GET"))
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            answers = perf_counter() - start
        process.terminate()
    return listens, answers


def connected(address: tuple[str, int]) -> socket.socket | None:
    try:
        return socket.create_connection(address)
    except ConnectionRefusedError:
        return None


def test_the_server_process_is_small(server: Server) -> None:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    mebibytes = pages * 4096 / 2**20
    record("memory of the server's process", mebibytes, "MiB", asked="at most 60 with nothing loaded",
           detail="after some thousand requests", command=COMMAND)  # fmt: skip
