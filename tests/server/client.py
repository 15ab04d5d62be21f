"""A client that hides nothing: HTTP over a socket of its own, and streams as the events that came."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60.0  # no answer in a test takes longer, on however busy a machine
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which has its four parts."""
        error: dict[str, Any] = self.json["error"]
        assert error.keys() >= {"message", "type", "param", "code"}
        assert error["message"], "an error without a sentence"
        return error

    @property
    def events(self) -> list[Any]:
        """The events of a stream; the last one is "[DONE]" where it is whole."""
        assert self.headers["content-type"].startswith("text/event-stream"), self.headers
        lines = [line for line in self.body.decode().split("\n\n") if line and not line.startswith(":")]
        assert all(line.startswith("data: ") and "\n" not in line for line in lines)
        return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


class Client:
    """Speaks to one server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self.address = (parts.hostname, parts.port)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request on a connection of its own. A body that is bytes is sent as it is."""
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            kind = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, {**kind, **(headers or {})})
            answer = connection.getresponse()
            lines = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, lines, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, headers)

    def chat(self, text: str = "hello", **more: Any) -> Answer:
        """One turn with the fast fake model."""
        return self.post(CHAT, {"model": "fake", "messages": [{"role": "user", "content": text}], **more})

    def complete(self, prompt: Any = "hello", **more: Any) -> Answer:
        return self.post("/v1/completions", {"model": "fake", "prompt": prompt, **more})

    def model(self, label: str) -> dict[str, Any]:
        """The card of a model."""
        card: dict[str, Any] = self.get(f"/v1/models/{label}").json
        return card

    # -- below HTTP

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=SECONDS)

    def raw(self, data: bytes) -> bytes:
        """All that comes back for some bytes, until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def begin(self, body: dict[str, Any], path: str = CHAT) -> socket.socket:
        """Send a request and read nothing."""
        connection = self.connect()
        connection.sendall(request(path, json.dumps(body).encode()))
        return connection


def request(path: str, body: bytes, method: str = "POST", **headers: str) -> bytes:
    """A request as it goes over the line."""
    lines = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def until(true: Callable[[], Any], what: str, seconds: float = SECONDS, pause: float = 0.01) -> Any:
    """Poll until something is true; fails with its name when that takes too long."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(pause)
    return value


def lines_of(connection: socket.socket) -> Iterator[bytes]:
    """What arrives, line by line."""
    with connection.makefile("rb") as file:
        yield from file


def status_of(answer: bytes) -> int:
    """Of an answer as it came over the line."""
    return int(answer.split(b" ", 2)[1])


def answered(connection: socket.socket) -> bool:
    """Whether something is there to be read; waits for a moment."""
    connection.settimeout(0.05)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(60)
