"""Memory for long bodies: some of it is left to short ones, and some of one client's to others."""

from __future__ import annotations

from contextlib import ExitStack

from tests.server.client import CHAT, answered, request, status_of, until
from tests.server.conftest import NewServer


def test_long_bodies_leave_room_for_short_ones(new_server: NewServer) -> None:
    """Many clients that send long bodies and never end them: one more is too many, a short request is not."""
    server = new_server(HOSHIKAGE_MAX_BODY="1MB")
    with ExitStack() as stack:
        held = [stack.enter_context(server.client.connect()) for _ in range(24)]
        for connection in held:
            connection.sendall(request(CHAT, b" " * 900_000, Content_Length="999999"))
        refused = until(lambda: [one for one in held if answered(one)], "some are refused")
        assert status_of(refused[0].recv(1 << 16)) == 429
        assert server.client.chat(max_tokens=2).status == 200
        assert len(refused) < 24


def test_one_client_s_long_bodies_leave_room_for_another_s(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_MAX_BODY="1MB", HOSHIKAGE_API_KEYS="one,two")
    long = {"model": "fake", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "user": "u" * 900_000}
    with ExitStack() as stack:
        held = [stack.enter_context(server.client.connect()) for _ in range(24)]
        for connection in held:
            lines = {"Content_Length": "999999", "Authorization": "Bearer one"}
            connection.sendall(request(CHAT, b" " * 900_000, **lines))
        refused = until(lambda: [one for one in held if answered(one)], "some are refused")
        assert status_of(refused[0].recv(1 << 16)) == 429 and len(refused) < 24
        until(lambda: server.client.post(CHAT, long, Authorization="Bearer one").status == 429, "its part is full")
        other = server.client.post(CHAT, long, Authorization="Bearer two")
        assert other.status == 200, other.body
    until(lambda: server.client.post(CHAT, long, Authorization="Bearer one").status == 200, "there is room again")
