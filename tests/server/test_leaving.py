"""Clients that leave, in every phase: their place is free at once, and nobody else notices."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from typing import Any

import pytest

from hoshikage.server.files import N_ALIKE
from tests.server.client import CHAT, SECONDS, Answer, lines_of, until
from tests.server.conftest import NewServer, Server, descriptors, threads

LONG = {
    "model": "fake-slow",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 1000,
    "early_stop": False,
    "temperature": 1,
    "seed": 5,
}


# Threads for what may block, and for looks at the files of one model and of all; they come once, and stay.
POOL = min(32, (os.cpu_count() or 1) + 4) + N_ALIKE + 2


def is_free(server: Server, label: str = "fake-slow") -> None:
    def nothing() -> bool:
        card = server.client.model(label)
        return bool(card["n_active"] == 0 and card["n_waiting"] == 0)

    until(nothing, "its place is free")


def leave(connection: socket.socket, how: str) -> None:
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "half-close":
        connection.shutdown(socket.SHUT_WR)
        return  # the other half stays open until the test ends
    connection.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("stream", [True, False])
def test_leaving_while_it_is_computed(server: Server, how: str, stream: bool) -> None:
    connection = server.client.begin({**LONG, "stream": stream})
    with connection:
        until(lambda: server.client.model("fake-slow")["n_active"] == 1, "it is at work")
        leave(connection, how)
        is_free(server)


def test_leaving_in_the_middle_of_a_stream_changes_no_other_stream(server: Server) -> None:
    wish = {**LONG, "max_tokens": 150, "stream": True}
    alone = server.client.post(CHAT, wish)
    answers: list[Answer] = []
    others = [threading.Thread(target=lambda: answers.append(server.client.post(CHAT, wish))) for _ in range(2)]
    leaver = server.client.begin({**LONG, "stream": True})
    for thread in others:
        thread.start()
    lines = lines_of(leaver)
    while b'"content":"' not in (line := next(lines)) or b'"content":""' in line:
        pass  # until it has been told something
    leave(leaver, "reset")
    lines.close()  # type: ignore[attr-defined]  # a generator
    for thread in others:
        thread.join(SECONDS)
    assert len(answers) == 2
    for answer in answers:
        assert told(answer) == told(alone)
    is_free(server)


def told(answer: Answer) -> list[Any]:
    """What a stream said, without what is another one each time."""
    assert answer.events[-1] == "[DONE]"
    deltas = [choice["delta"].get("content", "") for event in answer.events[:-1] for choice in event["choices"]]
    return ["".join(deltas), answer.events[-2]["choices"][0]["finish_reason"]]


def test_leaving_the_queue(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_BATCH="1")
    first = server.client.begin(LONG)
    until(lambda: server.client.model("fake-slow")["n_active"] == 1, "the first is at work")
    waiting = [server.client.begin(LONG) for _ in range(5)]
    until(lambda: server.client.model("fake-slow")["n_waiting"] == 5, "five wait")
    for connection in waiting:
        leave(connection, "reset")
    until(lambda: server.client.model("fake-slow")["n_waiting"] == 0, "none waits")
    assert server.client.model("fake-slow")["n_active"] == 1
    leave(first, "reset")
    is_free(server)


def test_leaving_while_the_model_is_loaded(new_server: NewServer) -> None:
    server = new_server()
    for how in ("close", "reset"):
        connection = server.client.begin({**LONG, "stream": how == "close"})
        leave(connection, how)
        is_free(server)
    assert server.client.chat(max_tokens=2).status == 200


def test_two_hundred_cancels_leave_nothing_behind(server: Server) -> None:
    server.client.chat(max_tokens=2)  # the model is there
    is_free(server, "fake")
    before = descriptors(server.process.pid), threads(server.process.pid)
    wish = {**LONG, "model": "fake", "max_tokens": 400, "stream": True}
    for _ in range(4):
        connections = [server.client.begin(wish) for _ in range(50)]
        for connection in connections:
            leave(connection, "reset")
    is_free(server, "fake")
    assert server.client.chat(max_tokens=2).status == 200
    until(lambda: descriptors(server.process.pid) <= before[0] + 2, "descriptors are given back")
    until(lambda: threads(server.process.pid) <= before[1] + POOL, "threads are given back")


def test_half_a_request_and_then_nothing(server: Server) -> None:
    for data in (b"POST", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"):
        with server.client.connect() as connection:
            connection.sendall(data)
    answer = server.client.post(CHAT, json.dumps({**LONG, "model": "fake", "max_tokens": 2}).encode())
    assert answer.status == 200
