"""What the commands make of addresses, and of whatever answers there."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage.cli import main, stop
from hoshikage.cli.ps import HEAD, cells, duration
from hoshikage.cli.remote import Remote, server_of
from hoshikage.errors import NoServerError, ParameterError, RefusedError
from tests.rawgguf import Draft

pytestmark = pytest.mark.usefixtures("nobody")


# -- addresses


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("127.0.0.1:3030", "http://127.0.0.1:3030"),
        ("http://ai.example/", "http://ai.example"),
        ("https://ai.example/models/v1/", "https://ai.example/models"),
        ("http://[::1]:3030/v1?x#y", "http://[::1]:3030"),
        ("http://anna:secret@ai.example", "http://ai.example"),
    ],
)
def test_addresses_as_people_write_them(url: str, shown: str) -> None:
    assert Remote(url).url == shown


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x", "http://", "http://x:99999", "http://x:y", "http://[", "http://a b", "é", "http://a..b", "x" * 70],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ParameterError, match="is no address of a server"):
        Remote(url)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(url: str) -> None:
    try:
        remote = Remote(url)
    except ParameterError:
        return
    assert remote.url.startswith(("http://", "https://")) and remote.url.isprintable()


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:3030"),
        ({"HOST": "0.0.0.0", "PORT": "1"}, "http://127.0.0.1:1"),
        ({"HOST": "::"}, "http://[::1]:3030"),
        ({"HOST": "ai.example"}, "http://ai.example:3030"),
    ],
)
def test_without_an_address_it_is_that_of_the_settings(
    variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert server_of(argparse.Namespace(url=None, config_path=None)).url == url


def test_a_port_that_nobody_knows_has_to_be_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "0")
    assert main(["status"]) == 2
    assert "say it with --url" in capsys.readouterr().err


# -- answers


@contextmanager
def answering(*replies: bytes) -> Iterator[str]:
    """Something on a port that sends these bytes to one after the other who connects, whatever they ask, and ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def work() -> None:
            for reply in replies:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(reply)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):
                        pass
            listening.close()

        thread = threading.Thread(target=work)
        thread.start()
        yield url
        thread.join()


def http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


def test_a_list_of_another_server_has_what_that_tells(capsys: pytest.CaptureFixture[str]) -> None:
    cards = [
        {"id": "gpt-x", "object": "model"},
        {"object": "model", "kind": 5, "bytes": "many"},
        {"id": 7, "problem": 8},
    ]
    with answering(http(200, json.dumps({"object": "list", "data": cards}).encode())) as url:
        assert main(["list", "--url", url]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [["gpt-x", "-", "-", "-", "-", "-"], ["-", "5", "-", "many", "-", "-"], ["7", "8"]]


GARBAGE = st.binary(max_size=60) | st.builds(http, st.integers(100, 599), st.binary(max_size=40))


@settings(deadline=None, max_examples=60)
@given(GARBAGE)
def test_whatever_answers_is_understood_or_said_to_be_a_stranger(reply: bytes) -> None:
    with answering(reply) as url:
        try:
            assert isinstance(Remote(url).ask("GET", "/ready"), dict)
        except NoServerError as error:
            assert url in error.cause and error.remedy
        except RefusedError as error:
            assert error.cause and error.status not in range(200, 300)


def test_the_servers_sentence_is_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"error": {"message": "no \x1b[31m; do this"}}).encode()
    with answering(http(403, body)) as url:
        assert main(["ps", "--url", url]) == 2
    said = capsys.readouterr().err
    assert "do this" in said and "\x1b" not in said, "a server cannot steer the terminal"


def test_a_server_that_is_stuck_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"error": {"message": "nothing has moved for 200 s; start again", "code": "stuck"}}).encode()
    with answering(http(503, body)) as url:
        assert main(["status", "--url", url, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"server": url, "well": False, "problem": "nothing has moved for 200 s; start again"}


def test_a_server_that_says_nothing_is_not_waited_for_without_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(NoServerError, match=r"no answer within 0\.05 s"):
            Remote(url, seconds=0.05).ask("GET", "/ready")


def test_a_key_goes_to_the_server_and_nowhere_else() -> None:
    redirect = b"HTTP/1.1 302 x\r\nLocation: http://evil.example/\r\nContent-Length: 2\r\n\r\n{}"
    with answering(redirect) as url, pytest.raises(RefusedError, match="302"):  # and is not followed
        Remote(url, "secret").ask("GET", "/ready")
    with pytest.raises(NoServerError) as raised:
        Remote("http://127.0.0.1:1", "secret").ask("GET", "/ready")
    assert "secret" not in str(raised.value)


Asked = list[tuple[str, str]]  # the address and the key of each request
KEYS = {"HOSHIKAGE_ADMIN_KEY": "strongest", "HOSHIKAGE_API_KEYS": "weaker"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What would be sent; nobody answers."""
    seen: Asked = []

    def refuse(connection: HTTPConnection, method: str, path: str, body: object, headers: dict[str, str]) -> None:  # noqa: ARG001
        seen.append((f"{connection.host}:{connection.port}", headers.get("Authorization", "").removeprefix("Bearer ")))
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(HTTPConnection, "request", refuse)
    return seen


def at_home(path: Path, **variables: str) -> None:
    """A person's own settings."""
    folder = path / "config" / "hoshikage"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()), encoding="utf-8")


@pytest.mark.parametrize("line", ["HOST=evil.example", "PORT=81\nHOST=192.0.2.1"])
@pytest.mark.parametrize("words", [["status"], ["ps"], ["stop"]])
def test_a_downloaded_folder_gets_no_key(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: list[str]
) -> None:
    at_home(tmp_path, **KEYS)
    Path(".env").write_text(line, encoding="utf-8")
    assert main(words) == 2
    assert [key for _, key in asked] == [""]
    said = capsys.readouterr().err
    assert f".env:{1 + line.count(chr(10))} says where the server is" in said and "strongest" not in said
    address = f"http://{asked[0][0]}"
    assert main([*words, "--url", address]) == 2
    assert asked[1:] == [(asked[0][0], "strongest")], "a person's own word"


@pytest.mark.parametrize(
    ("home", "here"),
    [
        ({"HOST": "ai.example", **KEYS}, {}),
        ({"HOST": "ai.example", "PORT": "1"}, KEYS),
        ({}, {"HOST": "ai.example", **KEYS}),
        (KEYS, {"HOST": "127.0.0.2"}),
        (KEYS, {"HOST": "0.0.0.0"}),
        (KEYS, {"PORT": "1"}),
    ],
)
def test_who_says_where_the_server_is_may_say_the_key(
    asked: Asked, tmp_path: Path, home: dict[str, str], here: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    at_home(tmp_path, **home)
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in here.items()), encoding="utf-8")
    assert main(["ps"]) == 2
    assert [key for _, key in asked] == ["strongest"]
    assert "without a key" not in capsys.readouterr().err


@pytest.mark.parametrize(("host", "key"), [("ai.example", ""), ("127.0.0.1", "strongest")])
def test_what_is_asked_in_passing_sends_no_key_beyond_this_machine(
    asked: Asked, tmp_path: Path, host: str, key: str
) -> None:
    at_home(tmp_path, HOST=host, **KEYS)
    Path("model.gguf").write_bytes(Draft().bytes())
    assert main(["add", "model.gguf", "x"]) == 0
    assert asked == [(f"{host}:3030", key)]


def stopping(**said: Any) -> bytes:
    return http(202, json.dumps({"status": "ok", "seconds": 1, **said}).encode())


def test_a_server_behind_a_wall_has_stopped_when_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Its process has another number here, or none."""
    with answering(stopping(pid=1, pid_namespace=1), http(200, b"{}")) as url:
        assert main(["stop", "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"server": url, "status": "no longer answers"}


def test_a_server_that_goes_on_answering_has_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "AFTERWARDS", -1.0)
    with (
        answering(stopping(), http(200, b"{}")) as url,
        pytest.raises(RefusedError, match="has not stopped within 0 s"),
    ):
        stop.end(Remote(url))


def test_a_server_on_this_machine_has_stopped_when_its_process_has(capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        same = Path("/proc/self/ns/pid").stat().st_ino
        with answering(stopping(pid=process.pid, pid_namespace=same)) as url:
            ending = threading.Thread(target=process.communicate)
            ending.start()
            assert main(["stop", "--url", url]) == 0
            ending.join()
    assert capsys.readouterr().out == f"{url} has stopped\n"


def test_a_server_that_does_not_stop_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stop, "AFTERWARDS", -1.0)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        same = Path("/proc/self/ns/pid").stat().st_ino
        with answering(stopping(pid=process.pid, pid_namespace=same)) as url:
            assert main(["stop", "--url", url]) == 2
        process.communicate()
    assert "has not stopped within 0 s; look into its log" in capsys.readouterr().err


# -- lines

CARD: dict[str, Any] = {"id": "a", "kind": "masked", "state": "resident", "resident_bytes": 1 << 30, "n_active": 2,
                        "n_waiting": 1, "unloads_in": 299.6}  # fmt: skip


def test_a_model_in_a_line() -> None:
    assert cells(CARD) == ["a", "masked", "resident", "1 GiB", "2", "1", "5 min"]
    assert len(cells(CARD)) == len(HEAD)
    assert cells({**CARD, "state": "loading", "progress": 0.4})[2] == "loading 40%"
    assert cells({**CARD, "state": "failed", "problem": "it is cut;\ndownload it"})[3] == "it is cut;\\ndownload it"
    assert [duration(seconds) for seconds in (0.2, 119, 120, 3600)] == ["0 s", "119 s", "2 min", "60 min"]
