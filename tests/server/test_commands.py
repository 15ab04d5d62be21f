"""`hoshikage status`, `ps`, `stop`, and the commands about names, against a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TinyModel
from tests.house import ROOT
from tests.server.client import SECONDS, until
from tests.server.conftest import NewServer, Server


def environment_of(folder: Path, port: int) -> dict[str, str]:
    """What a person has around who uses the server on this port and nothing else."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "DIFFUSION_"))}
    return {**ours, "PORT": str(port), "HOST": "127.0.0.1", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}


def command(folder: Path, port: int, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hoshikage", *words],
        cwd=folder, env={**environment_of(folder, port), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip


def hoshikage(server: Server, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With the settings that the server has itself."""
    return command(server.folder, server.port, *words, **environment)


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_there_and_what_it_does(new_server: NewServer) -> None:
    server = new_server()
    assert told(hoshikage(server, "ps", "--json")) == []
    assert "no model is in memory" in hoshikage(server, "ps").stderr
    server.client.chat(max_tokens=2)
    status = told(hoshikage(server, "status", "--json"))
    assert (status["well"], status["in_memory"], status["server"]) == (True, ["fake"], server.url)
    assert status["n_active"] == status["n_waiting"] == 0
    assert "in memory: fake" in hoshikage(server, "status").stdout
    asked = hoshikage(server, "status", "--quiet")
    assert (asked.returncode, asked.stdout) == (0, "")
    log = server.log.read_text()
    assert "path=/v1/chat/completions" in log and "/ready" not in log, "health checks fill no log"
    (line,) = told(hoshikage(server, "ps", "--json"))
    assert (line["id"], line["state"]) == ("fake", "resident")
    shown = hoshikage(server, "ps").stdout.splitlines()
    assert shown[0].split()[:3] == ["LABEL", "KIND", "STATE"]
    assert shown[1].split()[:3] == ["fake", "masked", "resident"]
    everything = hoshikage(server, "ps", "--all").stdout
    assert "nano-ar" in everything and "broken" in everything


def test_one_model_is_unloaded(new_server: NewServer) -> None:
    server = new_server()
    server.client.chat(max_tokens=2)
    assert told(hoshikage(server, "stop", "fake", "--json"))["model"] == "fake"
    until(lambda: server.client.model("fake")["state"] == "cold", "it is gone")
    unknown = hoshikage(server, "stop", "fakee")
    assert unknown.returncode == 2 and "did you mean 'fake'" in unknown.stderr


def test_the_server_is_stopped_and_waited_for(new_server: NewServer) -> None:
    server = new_server()
    reaper = threading.Thread(target=server.process.wait)  # so that its process does not stay behind as a name only
    reaper.start()
    done = hoshikage(server, "stop")
    assert done.returncode == 0 and "the server stops" in done.stderr
    assert done.stdout == f"{server.url} has stopped\n"
    reaper.join(SECONDS)
    assert server.process.returncode == 0
    again = hoshikage(server, "stop")
    assert again.returncode == 2 and "no server answers at" in again.stderr and "hoshikage serve" in again.stderr


def test_what_runs_is_finished_before_a_stop_is_over(new_server: NewServer) -> None:
    server = new_server()
    body = {"model": "fake", "messages": [{"role": "user", "content": "x"}], "max_tokens": 64, "stream": True}
    with server.client.begin({**body, "steps": 64}) as connection, connection.makefile("rb") as answer:
        assert b"200" in answer.readline()
        assert hoshikage(server, "stop").returncode == 0
        assert b"data: [DONE]" in answer.read()
    assert server.process.wait(SECONDS) == 0


def test_keys_are_taken_from_the_settings(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_API_KEYS="user", HOSHIKAGE_ADMIN_KEY="owner")
    without = hoshikage(server, "ps")
    assert without.returncode == 2 and "HOSHIKAGE_API_KEYS" in without.stderr
    wrong = hoshikage(server, "ps", HOSHIKAGE_API_KEYS="users")
    assert wrong.returncode == 2 and "this key is not known here" in wrong.stderr
    assert "in_memory" not in told(hoshikage(server, "status", "--json")), "whether it is well is said to everybody"
    assert told(hoshikage(server, "ps", "--json", HOSHIKAGE_API_KEYS="user")) == []
    refused = hoshikage(server, "stop", HOSHIKAGE_API_KEYS="user")
    assert refused.returncode == 2 and "admin key" in refused.stderr
    assert hoshikage(server, "stop", HOSHIKAGE_ADMIN_KEY="owner").returncode == 0
    assert server.process.wait(SECONDS) == 0


@pytest.mark.parametrize("words", [("status",), ("ps",), ("stop",), ("list", "--url", "127.0.0.1:PORT")])
def test_what_answers_there_may_be_something_else(tmp_path: Path, words: tuple[str, ...]) -> None:
    program = "import http.server as s; h = s.HTTPServer(('127.0.0.1', 0), s.SimpleHTTPRequestHandler)\n"
    program += "print(h.server_port, flush=True); h.serve_forever()"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        done = command(tmp_path, port, *(word.replace("PORT", str(port)) for word in words))
        other.kill()
    assert done.returncode == 2 and "is not Hoshikage" in done.stderr


# -- names


def test_a_server_with_a_file_of_its_own_is_asked_by_its_address(
    new_server: NewServer, tiny_model: TinyModel, tmp_path: Path
) -> None:
    server, path = new_server(), tiny_model("llada")
    at = ("--url", server.url)

    def away(*words: str) -> subprocess.CompletedProcess[str]:
        return command(tmp_path, 1, *words, *at)

    added = away("add", str(path), "mine", "END", "--n-ctx", "64")
    assert added.returncode == 0 and added.stdout.startswith("mine: masked, llada, ")
    entry = json.loads((server.folder / "model_map.json").read_text())["mine"]
    assert (entry["model"], entry["stop"], entry["n_ctx"]) == (path.name, ["END"], 64)
    assert not list(tmp_path.glob("hoshikage/*")), "nothing is written here"
    assert "mine" in [line["label"] for line in told(away("list", "--json"))]
    assert told(away("show", "mine", "--json"))["state"] == "cold"
    assert "context length" in away("show", "mine").stdout
    taken = away("add", str(tiny_model("dream")), "mine")
    assert taken.returncode == 2 and "taken" in taken.stderr
    assert away("rm", "mine").returncode == 0
    assert server.client.model("mine").get("error"), "it is forgotten there"
    assert away("show", "mine").returncode == 2


def test_names_change_through_the_server_of_their_file(new_server: NewServer, tiny_model: TinyModel) -> None:
    server, path = new_server(), tiny_model("llada")

    def beside(*words: str) -> subprocess.CompletedProcess[str]:
        return command(server.folder, 1, *words, MODEL_MAP_FILE=str(server.folder / "model_map.json"))

    added = beside("add", str(path), "mine", "END")
    assert (added.returncode, added.stderr) == (0, "") and added.stdout.startswith("mine: masked, llada, ")
    assert "method=POST path=/admin/models " in server.log.read_text(), "it was asked, and is what wrote"
    assert server.client.complete(model="mine", max_tokens=2).status == 200
    (line,) = [line for line in told(beside("list", "--json")) if line["label"] == "mine"]
    assert (line["origin"], line["file"], line["kind"]) == ("registered", str(path), "masked")
    assert told(beside("show", "mine", "--json"))["state"] == "resident"
    taken = beside("add", str(tiny_model("dream")), "mine")
    assert taken.returncode == 2 and "say --replace" in taken.stderr
    assert "mine" in beside("ps").stdout and beside("status").returncode == 0, "it is found without its port"
    assert beside("rm", "mine").returncode == 0
    until(lambda: "mine" not in server.client.get("/metrics").body.decode().partition("resident_bytes{")[2], "it left")
    server.stop(signal.SIGKILL)
    assert beside("add", str(path), "again").returncode == 0, "a server that was killed is none"
    assert beside("rm", "again").returncode == 0


def test_a_server_with_other_settings_is_pointed_out(new_server: NewServer, tiny_model: TinyModel) -> None:
    server = new_server()
    added = hoshikage(server, "add", str(tiny_model("llada")), "mine", "--model-map-file", "other.json")
    assert added.returncode == 0
    assert "has another file of names and does not know mine" in added.stderr
