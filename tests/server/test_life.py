"""The life of the process: its start, its signals, and a worker that is killed under it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.house import ROOT
from tests.server.client import CHAT, SECONDS, Answer, Client, request, until
from tests.server.conftest import NewServer, Server, children, children_of

LONG: dict[str, Any] = {
    "model": "fake-slow",
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": 1500,
    "early_stop": False,
    "temperature": 1,
}


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


class Asking:
    """A request in a thread of its own."""

    def __init__(self, server: Server, **more: Any) -> None:
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._ask, args=(server, {**LONG, **more}))
        self._thread.start()

    def _ask(self, server: Server, body: dict[str, Any]) -> None:
        try:
            self.answer = server.client.post(CHAT, body)
        except Exception as error:
            self.error = error

    def done(self) -> Answer:
        self._thread.join(SECONDS)
        assert self.answer is not None, self.error
        return self.answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_it_ends_at_once(new_server: NewServer, number: int) -> None:
    server = new_server()
    server.client.chat(max_tokens=2)
    workers = children(server)
    assert workers
    assert server.stop(number) == 0
    assert all(is_gone(pid) for pid in workers)
    assert "Traceback" not in server.log.read_text()


def test_what_runs_is_finished_and_nothing_new_begins(new_server: NewServer) -> None:
    server = new_server(DRAIN_TIMEOUT="50")
    running = [Asking(server, max_tokens=120, stream=stream, seed=1) for stream in (True, False)]
    until(lambda: server.client.model("fake-slow")["n_active"] == 2, "both are at work")
    keep = server.client.connect()  # a connection that was there before
    keep.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert keep.recv(1 << 16).startswith(b"HTTP/1.1 200")
    server.process.send_signal(signal.SIGTERM)
    streamed, plain = (asking.done() for asking in running)
    assert streamed.events[-1] == "[DONE]" and plain.status == 200
    assert server.process.wait(SECONDS) == 0
    with pytest.raises(OSError):
        server.client.get("/health")
    keep.close()


@pytest.mark.parametrize("phase", ["streaming", "queued", "loading"])
def test_after_the_drain_all_is_cancelled_and_told(new_server: NewServer, phase: str) -> None:
    server = new_server(DRAIN_TIMEOUT="0.1", HOSHIKAGE_BATCH="1")
    asking = [Asking(server, stream=True, diffusing=True)]
    if phase != "loading":
        until(lambda: server.client.model("fake-slow")["n_active"] == 1, "it is at work")
    if phase == "queued":
        asking.append(Asking(server, stream=False))
        until(lambda: server.client.model("fake-slow")["n_waiting"] == 1, "it waits")
    workers = children(server)
    assert server.stop() == 0
    for one in asking:
        if one.answer is None and one.error is None:
            one._thread.join(SECONDS)
        if one.answer is None:
            assert phase == "loading", one.error  # its connection may not even have been taken
        elif one.answer.status == 200:
            last = one.answer.events[-1]
            assert last == "[DONE]" or last["error"]["code"] in ("server_stopping", "cancelled")
        else:
            assert one.answer.status == 503
    assert all(is_gone(pid) for pid in workers)


def test_a_second_signal_does_not_wait(new_server: NewServer) -> None:
    server = new_server(DRAIN_TIMEOUT="600")
    asking = Asking(server, max_tokens=1500, stream=True, diffusing=True)
    until(lambda: server.client.model("fake-slow")["n_active"] == 1, "it is at work")
    workers = children(server)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: refuses(server), "it takes nothing new")
    assert server.stop() == 0
    asking._thread.join(SECONDS)
    assert all(is_gone(pid) for pid in workers)


def test_a_mount_that_hangs_holds_only_those_who_ask_for_what_is_there(new_server: NewServer) -> None:
    server = new_server(TEST_HANGS="tiny", DRAIN_TIMEOUT="0.1")
    with ExitStack() as stack:
        for model in ["tiny"] * 40:
            stack.enter_context(server.client.begin({**LONG, "model": model}))
        for _ in range(40):
            connection = stack.enter_context(server.client.connect())
            connection.sendall(request("/v1/models", b"", "GET"))
        until(lambda: server.client.get("/ready").status == 200, "it lives")
        assert all(server.client.chat(max_tokens=2).status == 200 for _ in range(3))
    assert server.stop() == 0
    assert "a look at a file hangs" in server.log.read_text()


def refuses(server: Server) -> bool:
    try:
        with socket.create_connection(server.client.address, timeout=1):
            return False
    except OSError:
        return True


def test_a_killed_worker_fails_its_own_requests_only(new_server: NewServer) -> None:
    server = new_server()
    assert server.client.chat(max_tokens=2).status == 200
    before = set(children(server))
    plain, streamed = Asking(server, stream=False), Asking(server, stream=True, diffusing=True)
    until(lambda: server.client.model("fake-slow")["n_active"] == 2, "both are at work")
    (victim,) = set(children(server)) - before
    os.kill(victim, signal.SIGKILL)
    assert code_of(plain.done()) == code_of(streamed.done()) == "inference_failed"
    assert server.client.chat(max_tokens=2).status == 200
    assert server.client.chat(model="fake-slow", max_tokens=2).status == 200


def code_of(answer: Answer) -> str:
    """The error's code: of the whole answer, or of the end of its stream."""
    code: str = (answer.events[-1] if answer.status == 200 else answer.json)["error"]["code"]
    return code


def test_killed_it_takes_its_workers_along(new_server: NewServer) -> None:
    server = new_server()
    server.client.chat(max_tokens=2)
    workers = children(server)
    assert workers
    server.process.kill()
    server.process.wait()
    until(lambda: all(is_gone(pid) for pid in workers), "its workers have ended")


# -- the command


def hoshikage(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hoshikage", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_port_in_use_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = hoshikage("serve", "--port", port, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert said == (
        f"hoshikage: PORT: something listens on 127.0.0.1:{port} already; "
        "stop it, or choose another with --port; --port 0 takes any that is free\n"
    )


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours(tmp_path: Path, host: str) -> None:
    process = hoshikage("serve", "--host", host, "--port", "0", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 2 and "HOST: " in said and "127.0.0.1" in said


def greeting(process: subprocess.Popen[str]) -> str:
    """What a server says until it is ready."""
    assert process.stderr is not None
    said = ""
    while "Ctrl-C" not in said:
        said += (line := process.stderr.readline())
        assert line, said
    return said


@pytest.mark.parametrize("words", [["serve", "--port", "0"], []])
def test_the_command_says_how_to_talk_to_it_and_ends_by_ctrl_c(tmp_path: Path, words: list[str]) -> None:
    process = hoshikage(*words, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path), PORT="0")
    said = greeting(process)
    assert "/v1/chat/completions" in said and "http://127.0.0.1:" in said
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def test_a_broken_map_stops_no_start_and_hides_no_other_model(tmp_path: Path) -> None:
    """Nor does one that breaks under a server that runs: what there is beside it is listed and served."""
    (tmp_path / "hoshikage").mkdir()
    (tmp_path / "hoshikage" / "model_map.json").write_text("{broken")
    process = hoshikage("serve", "--port", "0", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    said = greeting(process)
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found and "line 1, column 2" in said and "Traceback" not in said
    client = Client(found[0])
    assert {client.get(path).status for path in ("/v1/models", "/v1/models/nano-ar", "/metrics")} == {200}
    assert client.post("/admin/models/nano-ar/unload", {}).status == 202
    assert client.chat(model="nano-ar", max_tokens=2).status == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def test_the_server_process_stays_small_and_holds_no_model_code(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "import hoshikage.server.serve, hoshikage.server.app, hoshikage.manager.manager, hoshikage.cli.serve\n"
        "print(sorted(name for name in sys.modules if name == 'numpy' or name == 'hoshikage._core'))\n"
        "print([line.split()[-1] for line in open('/proc/self/maps') if 'libllama' in line or 'libggml' in line])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]
    del tmp_path


def test_it_listens_about_as_fast_as_its_imports(tmp_path: Path) -> None:
    """No absolute time: the machines differ. It listens before it has imported the libraries that it is made of, and
    answers soon after."""
    libraries = "import blacksheep, uvicorn, h11, orjson, prometheus_client, uvicorn.protocols.http.h11_impl"

    def import_all() -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", libraries], check=True)
        return time.monotonic() - began

    def serve() -> tuple[float, float]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        began = time.monotonic()
        process = hoshikage("serve", "--port", str(address[1]), HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
        with until(lambda: connected(address), "it listens", pause=0.001) as connection:
            listens = time.monotonic() - began
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            answers = time.monotonic() - began
        process.kill()
        process.communicate()
        return listens, answers

    imports = min(import_all() for _ in range(3))
    listens, answers = (min(column) for column in zip(*(serve() for _ in range(3)), strict=True))
    assert listens < 2 * imports
    assert answers < 4 * imports


def connected(address: tuple[str, int]) -> socket.socket | None:
    try:
        return socket.create_connection(address, timeout=SECONDS)
    except ConnectionRefusedError:
        return None


def test_as_process_1_of_a_container_it_ends_before_it_serves() -> None:
    """The kernel keeps from process 1 each signal that it has no handler for, so an early one would be lost."""
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*inside, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this system lets nobody have processes of their own")
    command = [*inside, sys.executable, "-m", "hoshikage", "run", "nano-ar", "-"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as outer:
        until(lambda: len(children_of(outer.pid)) == 1, "it is there")
        first = children_of(outer.pid)[0]
        until(lambda: waits_for(first, signal.SIGTERM), "it can be told to end")
        os.kill(first, signal.SIGTERM)
        assert outer.wait(SECONDS) == 130


def waits_for(pid: int, number: signal.Signals) -> bool:
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
