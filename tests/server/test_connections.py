"""Connections: how many there may be, for how long, and what is asked on one after the other."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from tests.server.client import CHAT, request, status_of, until
from tests.server.conftest import NewServer, Server, descriptors


def test_an_idle_connection_is_closed(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_CONNECTION_TIMEOUT="1", HOSHIKAGE_RECEIVE_TIMEOUT="86400")
    with server.client.connect() as silent:
        assert silent.recv(1 << 16) == b"", "nothing was asked, so nothing is answered"
    with server.client.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # until the server closes
        assert status_of(answer) == 200


def test_a_thousand_idle_connections_keep_nobody_out(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(server.client.connect())
        assert server.client.get("/health").status == 200
        assert server.client.chat(max_tokens=2).status == 200


def test_when_connections_run_out_the_idle_ones_go(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_MAX_CONNECTIONS="20")
    with ExitStack() as stack:
        idle = [stack.enter_context(server.client.connect()) for _ in range(60)]
        for _ in range(5):
            assert server.client.get("/health").status == 200
        assert idle[0].recv(1) == b"", "the oldest is still open"


def test_when_all_connections_are_at_work_one_more_is_asked_to_come_again(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_MAX_CONNECTIONS="2")
    with ExitStack() as stack:
        for _ in range(2):
            watching = stack.enter_context(server.client.connect())
            watching.sendall(request("/models/sse", b"", "GET", Content_Type="", Content_Length=""))
            assert status_of(watching.recv(1 << 16)) == 200
        answer = server.client.get("/health")
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "too_many_requests", "1")


def test_a_reader_that_stops_loses_its_turn(new_server: NewServer) -> None:
    """The answer is far longer than what the line holds, and nobody reads it."""
    server = new_server(HOSHIKAGE_SEND_TIMEOUT="1")
    body = {"model": "fake-slow", "messages": [{"role": "user", "content": "hello"}]}
    wishes = {"max_tokens": 1500, "stream": True, "diffusing": True, "early_stop": False, "seed": 1, "temperature": 1}
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(server.client.address)
    with connection:
        connection.sendall(request(CHAT, json.dumps({**body, **wishes}).encode()))
        until(lambda: server.client.model("fake-slow")["n_active"] == 1, "it is at work")
        until(lambda: server.client.model("fake-slow")["n_active"] == 0, "it has been given up")
    assert server.client.chat(max_tokens=2).status == 200


def test_the_rest_of_a_body_that_was_refused_is_nobody_s_work(server: Server) -> None:
    """A chunk of one byte costs its sender six and the server a hundred times as much."""
    with server.client.connect() as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = connection.recv(1 << 16)
        connection.sendall(b"1\r\nx\r\n" * 10_000)  # read and thrown away
        answer += b"".join(iter(lambda: connection.recv(1 << 16), b""))  # to the end, which the server makes
        assert status_of(answer) == 404 and answer.count(b"HTTP/1.1 ") == 1
    assert server.client.get("/health").status == 200


def test_a_short_body_that_was_refused_ends_no_connection(server: Server) -> None:
    """Many clients send the header first; they ask again on the connection that said no."""
    head, end, body = request("/nowhere", b"x" * 100).partition(b"\r\n\r\n")
    with server.client.connect() as connection:

        def answer_to(sent: bytes) -> int:
            connection.sendall(sent)
            answer = b""
            while not answer.endswith(b"}"):
                piece = connection.recv(1 << 16)
                assert piece, "it was closed"
                answer += piece
            return status_of(answer)

        for _ in range(3):
            assert answer_to(head + end) == 404
            assert answer_to(body + request("/health", b"", "GET")) == 200


def test_who_asks_ahead_and_leaves_is_noticed(server: Server) -> None:
    wishes = {"model": "fake-slow", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1500,
              "early_stop": False, "logits_eos_inf": True, "steps": 1500}  # fmt: skip
    with server.client.connect() as connection:
        connection.sendall(request(CHAT, json.dumps(wishes).encode()) + b"G")
        until(lambda: server.client.model("fake-slow")["n_active"] == 1, "it is at work")
        connection.sendall(b"ET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    until(lambda: server.client.model("fake-slow")["n_active"] == 0, "it has been given up")


def test_what_was_asked_ahead_is_answered_in_its_turn(server: Server) -> None:
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    chat = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    last = health.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = server.client.raw(request(CHAT, json.dumps(chat).encode()) + health + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    begun = request(CHAT, json.dumps(chat).encode(), Connection="close")
    with server.client.connect() as connection:  # a part of the next body is there when the answer before it ends
        connection.sendall(request(CHAT, json.dumps(chat).encode()) + begun[:-5])
        first = connection.recv(1 << 16)
        connection.sendall(begun[-5:])
        answers = first + b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_one_client_leaves_places_to_others_and_to_the_owner(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_MAX_STREAMS="4", HOSHIKAGE_API_KEYS="one,two", HOSHIKAGE_ADMIN_KEY="owner")

    def get(path: str, key: str) -> int:
        return server.client.get(path, Authorization=f"Bearer {key}").status

    with ExitStack() as stack:

        def watch(key: str) -> None:
            connection = stack.enter_context(server.client.connect())
            lines = {"Content_Type": "", "Content_Length": "", "Authorization": f"Bearer {key}"}
            connection.sendall(request("/models/sse", b"", "GET", **lines))
            assert status_of(connection.recv(1 << 16)) == 200

        for _ in range(3):
            watch("one")
        assert get("/v1/models", "one") == 429 and get("/v1/models", "two") == 200
        watch("two")
        assert get("/v1/models", "two") == 429
        answer = server.client.post("/admin/reload", None, Authorization="Bearer owner")
        assert answer.status == 200, answer.body
    until(lambda: get("/v1/models", "one") == 200, "there is room again")


def test_a_whole_answer_that_nobody_takes_is_given_up(new_server: NewServer) -> None:
    """More than the line holds, written at once: its memory is given back."""
    server = new_server(HOSHIKAGE_SEND_TIMEOUT="1")
    body = json.dumps({"model": "fake", "content": "hello " * 150_000, "with_pieces": True}).encode()
    assert server.client.chat(max_tokens=1).status == 200
    before = descriptors(server.process.pid)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(server.client.address)
    with connection:
        connection.sendall(request("/tokenize", body))
        until(lambda: "path=/tokenize status=200" in server.log.read_text(), "it has been answered")
        until(lambda: descriptors(server.process.pid) <= before, "its connection is gone")
