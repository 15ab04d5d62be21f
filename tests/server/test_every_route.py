"""What no client should send, at every door: refused in that door's words, and the server is as well as before."""

from __future__ import annotations

from typing import Any

import pytest

from hoshikage.server.app import lines
from hoshikage.server.door import Line
from tests.server.conftest import Server

LINES = lines()
READING = [line for line in LINES if line[5].get("table") is not None]

NO_JSON = [b"hello", b"[]", b"null", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe", b'{"a": "\\ud800"}',
           b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"]  # fmt: skip


def path_of(line: Line) -> str:
    return line[1].replace("{name}", "fake").replace("{id}", "fake").replace("{model_id}", "fake")


def named(line: Line) -> str:
    return f"{line[0]} {line[1]}"


def error_in(line: Line, body: dict[str, Any]) -> dict[str, Any]:
    """The error, where this door's clients look for it."""
    error: dict[str, Any] = body["error"]
    if line[1].startswith("/v1/messages"):
        assert body["type"] == "error"
    if line[1].startswith("/api/diffusion"):
        assert body["success"] is False and body["detail"] == error["message"]
    return error


@pytest.mark.parametrize("line", READING, ids=named)
def test_what_is_no_json_object(server: Server, line: Line) -> None:
    for data in NO_JSON:
        answer = server.client.ask(line[0], path_of(line), data)
        assert answer.status == 400, (data[:20], answer.body[:300])
        assert error_in(line, answer.json)["code"] == "invalid_json"
    answer = server.client.ask(line[0], path_of(line), b"{}", {"Content-Type": "text/plain"})
    assert (answer.status, error_in(line, answer.json)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("line", READING, ids=named)
def test_a_wrong_value_of_each_field_is_named(server: Server, line: Line) -> None:
    for field in line[5]["table"].fields:
        answer = server.client.ask(line[0], path_of(line), {field.name: [{}]})  # which is nothing that anybody reads
        assert answer.status == 400, (field.name, answer.body[:300])
        error = error_in(line, answer.json)
        assert error["param"].startswith(field.name), (field.name, error)
        assert len(answer.body) < 3000


@pytest.mark.parametrize("path", sorted({line[1] for line in LINES}))
def test_a_wrong_method_says_which_are_right(server: Server, path: str) -> None:
    (line, *_) = [line for line in LINES if line[1] == path]
    answer = server.client.ask("PATCH", path_of(line))
    assert (answer.status, error_in(line, answer.json)["code"]) == (405, "method_not_allowed")
    assert {line[0] for line in LINES if line[1] == path} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize("start", ["/v1/messages", "/api/diffusion", "/v1"])
def test_what_comes_to_no_route_is_refused_in_the_words_of_its_door(server: Server, start: str) -> None:
    line: Line = (*LINES[0][:1], start, *LINES[0][2:])
    answer = server.client.get(f"{start}/nothing")
    assert (answer.status, error_in(line, answer.json)["code"]) == (404, "not_found")
    for headers, code in (({"Host": "evil.example"}, "host_not_allowed"), ({"Origin": "null"}, "origin_not_allowed")):
        answer = server.client.get(start, **headers)
        assert (answer.status, error_in(line, answer.json)["code"]) == (403, code)


def test_the_server_is_as_well_as_before(server: Server) -> None:
    assert server.client.chat(max_tokens=2).status == 200
    assert "Traceback" not in server.log.read_text()
