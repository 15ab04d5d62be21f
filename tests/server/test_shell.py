"""The shell: slow clients, large ones, unknown ones, and those who mean harm."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest

from tests.house import ROOT
from tests.server.client import CHAT, answered, request, status_of, until
from tests.server.conftest import NewServer, Server

HELLO = b'{"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}'


def error_of(answer: bytes) -> str:
    code: str = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    return code


def id_of(answer: bytes) -> str:
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()
    assert "x-content-type-options: nosniff" in head
    return re.findall(r"x-request-id: (req-\w+)", head)[0]


# -- methods and paths


def test_methods(server: Server) -> None:
    client = server.client
    wrong = client.get(CHAT)
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST, OPTIONS"
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        assert client.ask(method, CHAT).status == 405
    options = client.ask("OPTIONS", "/v1/models")
    assert (options.status, options.body, options.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")
    get, head = client.get("/v1/api/version"), client.ask("HEAD", "/v1/api/version")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(get.body))


def test_methods_that_somebody_makes_up_are_counted_as_one(server: Server) -> None:
    for method in ("AAA", "AAB", "aaaaaaa", "get"):
        assert server.client.ask(method, "/health").status == 405
    counted = re.findall(r'hoshikage_requests_total{.*method="(\w+)"', server.client.get("/metrics").body.decode())
    assert set(counted) <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/chat/completions/", "//v1/models", "/v1/models/../models", "/x" * 900]
)
def test_other_paths_are_not_there(server: Server, path: str) -> None:
    answer = server.client.get(path)
    assert (answer.status, answer.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/messages", "/v1/messages"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/modles", "/models"),
    ],
)
def test_a_path_that_is_nearly_right_is_named(server: Server, path: str, meant: str) -> None:
    assert f"did you mean {meant}?" in server.client.get(path).error["message"]


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%252e%252e%252f", "%00", "fake%00", "%ff%fe", "a%0d%0ab", "x" * 5000],
)
def test_names_are_never_paths(server: Server, name: str) -> None:
    answer = server.client.get(f"/v1/models/{name}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "\r" not in str(answer.headers)


def test_every_answer_has_an_id_and_a_good_one_is_kept(server: Server) -> None:
    assert server.client.get("/health", **{"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for bad in ("x" * 65, "a b", 'a"b', "a\tb"):
        given = server.client.get("/health", **{"X-Request-Id": bad}).headers["x-request-id"]
        assert given != bad and given.startswith("req-")


# -- sizes


def test_a_body_of_300_megabytes_is_refused_before_it_is_there(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_MAX_BODY="1MB")
    before = memory_of(server)
    with server.client.connect() as connection:
        connection.sendall(request(CHAT, b"", Content_Length=str(300 << 20)))
        assert status_of(connection.recv(1 << 16)) == 413
    with server.client.connect() as connection:  # without a length, in chunks: refused when the limit is passed
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        connection.setblocking(False)
        sent = send_what_goes(connection, piece, 300)
        connection.setblocking(True)
        assert status_of(connection.recv(1 << 16)) == 413
        assert sent
    assert memory_of(server) - before < 50 << 20
    assert server.client.chat(max_tokens=2).status == 200


def send_what_goes(connection: socket.socket, piece: bytes, n: int) -> int:
    """Send pieces until there is an answer, or no room."""
    for i in range(n):
        try:
            connection.send(piece)
            if connection.recv(1, socket.MSG_PEEK):
                return i + 1
        except BlockingIOError:
            time.sleep(0.001)
    return n


def memory_of(server: Server) -> int:
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def test_headers_without_end_are_refused(server: Server) -> None:
    client = server.client
    start = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    for head in (
        start + b"X-Long: " + b"x" * (1 << 20) + b"\r\n\r\n",
        start + b"".join(b"X-%d: y\r\n" % i for i in range(100_000)) + b"\r\n",
        start + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"\r\n",
        b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        answer = client.raw(head)
        assert status_of(answer) == 431, answer[:200]
        assert error_of(answer) == "bad_request"
        assert id_of(answer)
    assert client.get("/health").status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"hello\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",  # no Host
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n",
        b"GET /he alth HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(server: Server, head: bytes) -> None:
    answer = server.client.raw(head)
    assert status_of(answer) in (400, 501), answer[:200]
    assert error_of(answer)
    name = id_of(answer)
    until(lambda: f"id={name} " in server.log.read_text(), "the log names it")


@pytest.mark.parametrize("line", ["GET /health", "GET /v1/status", "GET /v1/models", "GET /nothing", "POST /nothing"])
def test_a_body_that_is_none_is_told_once(server: Server, line: str) -> None:
    """The request is at work already when the rest of it turns out to be no HTTP: one answer, and no fault of ours."""
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    before = server.log.read_text().count("gone=True")
    answer = server.client.raw(head + b"nothing\r\n")
    assert (status_of(answer), error_of(answer)) == (400, "bad_request")
    log = until(lambda: (text := server.log.read_text()).count("gone=True") > before and text, "it is given up")
    assert "Traceback" not in log and "internal_error" not in log and "uvicorn" not in log


@pytest.mark.parametrize("path", ["/v1/completions", "/health"])
@pytest.mark.parametrize("kept", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_a_length_beside_chunks_smuggles_nothing(server: Server, path: str, kept: bytes) -> None:
    """A proxy may have read the length and the server the chunks: what follows is answered by nobody."""
    data = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n".encode()
    answer = server.client.raw(head + kept + b"\r\n" + data)  # to the end, which only the server makes
    assert (status_of(answer), error_of(answer)) == (400, "bad_request")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"connection: close" in answer.lower()


def test_the_head_of_a_stream_ends(server: Server) -> None:
    answer = server.client.raw(b"HEAD /models/sse HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 200 and answer.endswith(b"\r\n\r\n") and b"text/event-stream" in answer


# -- slow clients


def test_a_header_that_does_not_end_is_given_up(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_RECEIVE_TIMEOUT="0.5")
    with server.client.connect() as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nX: ")
        end = time.monotonic() + 30
        while time.monotonic() < end:  # a byte now and then moves no deadline
            try:
                slow.sendall(b"x")
            except OSError:
                break
            if answered(slow):
                break
        answer = slow.recv(1 << 16)
        assert (status_of(answer), error_of(answer)) == (408, "request_timeout")
        assert id_of(answer)
    assert server.client.get("/health").status == 200


def test_a_body_that_does_not_arrive_is_given_up(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_RECEIVE_TIMEOUT="0.5")
    with server.client.connect() as connection:
        connection.sendall(request(CHAT, b"{", Content_Length="100"))
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert (status_of(answer), error_of(answer)) == (408, "request_timeout")
    assert server.client.chat(max_tokens=2).status == 200


# -- names and pages


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3030", "127.0.0.1:1", "[::1]:80", "192.168.1.5"])
def test_names_that_are_ours(server: Server, host: str) -> None:
    assert server.client.get("/health", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3030", ""])
def test_a_name_that_somebody_else_chose_is_refused(server: Server, host: str) -> None:
    answer = server.client.get("/v1/models", Host=host)
    assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost:3030/v1/models/fake", "localhost", 200),
        ("HTTPS://127.0.0.1/v1/models/fake?x=1", "evil.example", 200),
        ("http://evil.example/v1/models/fake", "localhost", 403),
        ("http://evil.example@localhost/v1/models/fake", "localhost", 404),
        ("http:///v1/models/fake", "localhost", 404),
        ("http://localhost", "localhost", 404),
        ("http://localhost/v1/models/http://localhost", "localhost", 404),
        ("ftp://localhost/v1/models/fake", "localhost", 404),
    ],
)
def test_a_target_may_name_the_server_as_well(server: Server, target: str, host: str, status: int) -> None:
    """As clients ask that take a server for a proxy (RFC 9112, 3.2.2): the name in it counts in place of `Host`."""
    for version in ("1.1", "1.0"):
        lines = f"GET {target} HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert status_of(server.client.raw(lines.encode())) == status
    lines = (
        f"POST http://localhost{CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(HELLO)}"
    )
    assert status_of(server.client.raw(f"{lines}\r\n\r\n".encode() + HELLO)) == 200


def test_pages(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_ALLOWED_ORIGINS="https://chat.example", HOSHIKAGE_ALLOWED_HOSTS="ai.example")
    client = server.client
    for origin in ("https://chat.example", "http://localhost:3000", "http://ai.example"):
        answer = client.get("/v1/models", Origin=origin, Host="ai.example")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
        assert answer.headers["vary"] == "origin"
    for origin in ("https://evil.example", "null", "http://chat.example", "https://chat.example.evil.example", "x"):
        answer = client.get("/v1/models", Origin=origin)
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
    wishes = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
    asked = client.ask("OPTIONS", CHAT, headers={"Origin": "https://chat.example", **wishes})
    assert (asked.status, asked.headers["access-control-allow-methods"]) == (204, "POST, OPTIONS")
    assert asked.headers["access-control-allow-headers"] == "authorization,x-stainless-os"


# -- keys

OPEN = ("/health", "/v1/health", "/ready")
PAGE = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
ROUTES = re.findall(r"^\| `([A-Z]+) (/[^`]*)` \| (users|the owner|anybody) \|", PAGE, re.MULTILINE)
USERS, OWNERS, ANYBODY = (
    [(method, re.sub("{[a-z_]+}", "fake", path)) for method, path, whose in ROUTES if whose == who]
    for who in ("users", "the owner", "anybody")
)


def test_the_page_names_every_route(server: Server) -> None:
    paths = server.client.get("/openapi.json").json["paths"]
    known = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {(method, re.sub("{[a-z_]+}", "fake", path)) for method, path in known} == {*USERS, *OWNERS, *ANYBODY}
    assert {*ANYBODY} == {("GET", path) for path in OPEN}


def test_who_may_ask_with_keys(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_API_KEYS="user-1,user-2", HOSHIKAGE_ADMIN_KEY="owner")
    client = server.client
    for path in OPEN:
        assert client.get(path).status == 200
    for method, path in [*USERS, *OWNERS]:
        for headers in ({}, bearer("wrong"), bearer("user-1x"), bearer(""), {"Authorization": "Basic user-1"}):
            answer = client.ask(method, path, headers=headers)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key"), (method, path, headers)
            assert answer.headers["www-authenticate"] == "Bearer"
    for method, path in OWNERS:
        answer = client.ask(method, path, headers=bearer("user-1"))
        assert (answer.status, answer.error["code"]) == (403, "admin_only")
    for key in ("user-1", "user-2", "owner"):
        assert client.get("/v1/models", **bearer(key)).status == 200
        assert client.get("/v1/models", **{"X-Api-Key": key}).status == 200
    assert client.ask("POST", "/admin/reload", headers=bearer("owner")).status == 200
    log = server.log.read_text()
    assert not any(key in log for key in ("user-1", "owner", "wrong"))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_who_may_ask_without_keys(new_server: NewServer) -> None:
    here, open_to_all, for_users = (
        new_server(), new_server(HOST="0.0.0.0"), new_server(HOSHIKAGE_API_KEYS="user")
    )  # fmt: skip
    assert here.client.ask("POST", "/admin/reload").status == 200
    for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        assert here.client.ask("POST", "/admin/reload", headers={name: "1.2.3.4"}).status == 403
    for client, headers in ((open_to_all.client, {}), (for_users.client, bearer("user"))):
        answer = client.ask("POST", "/admin/reload", headers=headers)
        assert (answer.status, answer.error["code"]) == (403, "admin_only")


def test_what_was_written_stands_in_no_log(server: Server) -> None:
    server.client.chat("a secret of mine", max_tokens=2)
    server.client.chat(model="secret-model-name")
    server.client.get("/v1/models/secret-path?secret=query")
    server.client.post(CHAT, b'{"secret body')
    assert "secret" not in server.log.read_text()


def test_a_name_that_is_no_model_stands_in_no_log(new_server: NewServer) -> None:
    server, name = new_server(), "secret prompt text id=req-fake status=200"
    bodies = {
        "/tokenize": {"model": name, "content": "a"},
        "/v1/completions": {"model": name, "prompt": "a"},
        "/api/diffusion/generate": {"model_id": name, "text": "a"},
    }
    for path, body in bodies.items():
        assert server.client.post(path, body).status == 404
    assert server.client.complete("a", max_tokens=1).status == 200
    log = until(lambda: (text := server.log.read_text()).count("access: request ") == 4 and text, "all are in the log")
    assert "secret" not in log and "req-fake" not in log
    assert " model=fake " in log
