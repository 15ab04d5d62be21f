"""Disks that hang: whoever asks for what lies there is told so, and nobody else notices."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from hoshikage.server.files import N_THREADS
from tests.server.client import CHAT, Client, request, status_of
from tests.server.conftest import NewServer

BASE = "/api/diffusion"
PATIENCE = "3"  # seconds: long for a disk that works, and short for a test
MANY = N_THREADS + 6  # each of which would hold a thread if it could
LISTS = [f"{BASE}/models", f"{BASE}/admin/health", "/v1/models", "/props?model=tiny", "/metrics"]
ANSWER = {"model": "fake", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
TEXT = {"text": "Once upon", "max_length": 2}


class Asking:
    """Requests whose answers are read later, each on a connection of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open = ExitStack()
        self._connections: list[socket.socket] = []

    def begin(self, path: str, body: Any = None, method: str = "POST") -> None:
        connection = self._open.enter_context(self._client.connect())
        data = b"" if body is None else json.dumps(body).encode()
        connection.sendall(request(path, data, method, Connection="close"))
        self._connections.append(connection)

    def answers(self) -> Iterator[tuple[int, Any]]:
        """Their statuses, and what they say."""
        for connection in self._connections:
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # noqa: B023 -- it is read at once
            yield status_of(answer), json.loads(answer.partition(b"\r\n\r\n")[2])

    def close(self) -> None:
        self._open.close()


@contextmanager
def asking(client: Client) -> Iterator[Asking]:
    requests = Asking(client)
    try:
        yield requests
    finally:
        requests.close()


def all_hang(requests: Asking) -> None:
    for status, said in requests.answers():
        assert (status, said["error"]["code"]) == (503, "stuck"), said
        assert "a disk or a mount hangs" in said["error"]["message"]


def others_are_answered(client: Client) -> None:
    assert client.post(CHAT, ANSWER).status == 200
    for more in ({"model_id": "fake"}, {}):  # who names no model gets the default one, whatever others do
        answer = client.post(f"{BASE}/generate", {**TEXT, **more})
        assert answer.status == 200 and answer.json["model_id"] == "fake", answer.body


def test_who_lists_models_takes_no_thread_from_others(new_server: NewServer) -> None:
    server = new_server(TEST_HANGS="tiny", TEST_PATIENCE=PATIENCE, DIFFUSION_DEFAULT_MODEL="fake", DRAIN_TIMEOUT="0.1")
    with asking(server.client) as requests:
        for path in LISTS * (MANY // len(LISTS)):
            requests.begin(path, method="GET")
        others_are_answered(server.client)
        all_hang(requests)
    others_are_answered(server.client)
    assert server.stop() == 0


@pytest.mark.parametrize("hangs", ["TEST_HANGS", "TEST_HANGS_LATER"])
def test_who_asks_the_model_takes_no_thread_from_others(new_server: NewServer, hangs: str) -> None:
    """Be it that the file hangs from the first, or since the server has looked at it."""
    server = new_server(**{hangs: "tiny"}, TEST_PATIENCE=PATIENCE, DIFFUSION_DEFAULT_MODEL="fake", DRAIN_TIMEOUT="0.1")
    with asking(server.client) as requests:
        for _ in range(MANY):
            requests.begin(CHAT, {**ANSWER, "model": "tiny"})
        requests.begin(f"{BASE}/generate", {**TEXT, "model_id": "tiny"})
        others_are_answered(server.client)
        all_hang(requests)
    others_are_answered(server.client)
    assert server.stop() == 0
    assert "a look at a file hangs" in server.log.read_text()
