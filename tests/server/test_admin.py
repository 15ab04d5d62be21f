"""The owner's routes, and what says how the server is."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hoshikage._version import __version__
from hoshikage.manager.gpu import gpus
from tests.conftest import TinyModel
from tests.server.client import CHAT, Answer, request, until
from tests.server.conftest import NewServer, Server, children
from tests.workers import suspend


def entries(server: Server) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((server.folder / "model_map.json").read_text())
    return written


def test_the_ancestors_words(server: Server) -> None:
    assert server.client.get("/v1/status").json == {"status": "ok"}
    assert server.client.get("/v1/api/version").json == {"version": __version__}


def test_models_come_and_go(new_server: NewServer, tiny_model: TinyModel) -> None:
    server, path = new_server(), tiny_model("llada")
    client = server.client
    added = client.post("/admin/models", {"name": "mine", "path": str(path), "stop": ["END"], "n_ctx": 64})
    assert (added.status, added.json["model"]["id"]) == (201, "mine"), added.body
    assert entries(server)["mine"] == {"path": str(path.parent), "model": path.name, "stop": ["END"], "n_ctx": 64}
    assert client.complete(model="mine", max_tokens=4).status == 200
    again = client.post("/admin/models", {"name": "mine", "path": str(tiny_model("dream"))})
    assert (again.status, again.error["code"]) == (409, "model_exists")
    other = {"name": "mine", "path": str(tiny_model("dream")), "replace": True}
    assert client.post("/admin/models", other).status == 201
    assert client.complete(model="mine", max_tokens=4).status == 200
    assert client.ask("DELETE", "/admin/models/mine").json == {"status": "ok"}
    assert client.complete(model="mine").status == 404
    assert client.ask("DELETE", "/admin/models/mine").status == 404
    assert client.ask("DELETE", "/admin/models/nano-ar").status == 409
    reloaded = client.ask("POST", "/admin/reload").json
    assert reloaded["status"] == "ok" and "nano-ar" in reloaded["models"]


def test_reload_says_that_the_map_cannot_be_read(new_server: NewServer) -> None:
    server = new_server()
    (server.folder / "model_map.json").write_text("{broken")
    refused = server.client.ask("POST", "/admin/reload")
    assert refused.status == 500 and "line 1, column 2" in refused.error["message"]
    assert str(server.folder) not in refused.error["message"]
    listed = server.client.get("/v1/models").json["data"]
    assert {"nano-ar"} <= {card["id"] for card in listed} and "tiny" not in {card["id"] for card in listed}


def test_a_name_that_is_forgotten_takes_its_copy_along(new_server: NewServer) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        client = new_server(STAGING="on", RAMDISK_PATH=disk, GREAT_TIMEOUT="0").client
        assert client.complete(model="tiny", max_tokens=2).status == 200
        assert client.post("/admin/models/tiny/unload", {}).status == 202
        until(lambda: client.model("tiny")["state"] == "staged", "its copy stays")
        assert client.ask("DELETE", "/admin/models/tiny").json == {"status": "ok"}
        until(lambda: not list(Path(disk).iterdir()), "its copy has gone")
        assert client.get("/v1/models/tiny").status == 404


def test_models_run_where_the_owner_prefers(new_server: NewServer) -> None:
    cpu = new_server(DEVICE_PREFERENCE="cpu").client
    assert cpu.complete(model="tiny", max_tokens=2).status == 200
    if not gpus():
        refused = new_server(DEVICE_PREFERENCE="cuda").client.complete(model="tiny", max_tokens=2)
        assert "llama.cpp finds no GPU; use auto" in refused.error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"path": "/x.gguf"}, "name"),
        ({"name": "x"}, "path"),
        ({"name": "../x", "path": "MODEL"}, "name"),
        ({"name": "nano-ar", "path": "MODEL"}, "name"),
        ({"name": "x", "path": 5}, "path"),
        ({"name": "x", "path": "a\0b"}, "path"),
        ({"name": "x", "path": "MODEL", "stop": 5}, "stop"),
        ({"name": "x", "path": "MODEL", "n_ctx": -1}, "n_ctx"),
        ({"name": "x", "path": "MODEL", "nctx": 5}, "nctx"),
    ],
)
def test_what_cannot_be_added(server: Server, tiny_model: TinyModel, body: dict[str, Any], param: str) -> None:
    whole = {key: str(tiny_model("llada")) if value == "MODEL" else value for key, value in body.items()}
    answer = server.client.post("/admin/models", whole)
    assert (answer.status, answer.error["param"]) == (400, param), answer.body


@pytest.mark.parametrize("name", ["missing.gguf", "folder", "text"])
def test_a_file_that_is_no_model_is_not_added(server: Server, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    answer = server.client.post("/admin/models", {"name": "x", "path": str(tmp_path / name)})
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "not_a_model", "path"), answer.body
    assert "x" not in entries(server)


def test_loading_and_unloading(new_server: NewServer) -> None:
    client = new_server().client
    assert client.model("fake")["state"] == "cold"
    assert client.model("fake")["status"]["value"] == "unloaded"
    assert client.ask("POST", "/admin/models/fake/load").status == 202
    until(lambda: client.model("fake")["state"] == "resident", "it is there")
    assert client.model("fake")["status"]["value"] == "loaded"
    assert client.ask("POST", "/admin/models/fake/unload").status == 202
    until(lambda: client.model("fake")["state"] == "cold", "it is gone")
    for action in ("load", "unload"):
        assert client.ask("POST", f"/admin/models/nobody/{action}").status == 404


def test_cards(server: Server) -> None:
    cards = {card["id"]: card for card in server.client.get("/v1/models").json["data"]}
    assert cards.keys() >= {"nano-ar", "fake", "tiny", "broken"}
    assert (cards["nano-ar"]["kind"], cards["tiny"]["kind"]) == ("causal", "masked")
    for name in ("nano-ar", "tiny"):
        assert cards[name]["context_length"] == cards[name]["max_model_len"] > 0
    assert "problem" in cards["broken"] and str(server.folder) not in json.dumps(cards)
    passing = {"unloads_in": None}  # where another test has loaded it, this runs
    assert server.client.model("tiny") | passing == cards["tiny"] | passing


def test_counting(new_server: NewServer) -> None:
    client = new_server().client
    client.chat(max_tokens=8)
    client.chat(model="nobody")
    client.get("/nowhere-1")
    client.get("/nowhere-2")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").body.decode())}
    samples = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
    assert samples["hoshikage_settled_tokens_total", ("model", "fake")] >= 0
    assert samples["hoshikage_passes_total", ("model", "fake")] > 0
    assert samples["hoshikage_errors_total", ("cause", "model_not_found")] == 1
    unknown = ("hoshikage_requests_total", ("method", "GET"), ("path", "unknown"), ("status", "404"))
    assert samples[unknown] == 2
    assert samples["hoshikage_models", ("state", "resident")] == 1
    assert samples["hoshikage_first_token_seconds_count", ("model", "fake")] == 1
    for name in ("queue", "active", "loading", "resident_bytes", "tokens_per_pass", "stage_seconds", "rows"):
        assert f"hoshikage_{name}" in families


def test_the_watchdog_tells_when_nothing_moves(new_server: NewServer) -> None:
    """A worker that is stopped in the middle of its work."""
    server = new_server(HOSHIKAGE_WATCHDOG="0.5")
    client = server.client
    assert client.get("/ready").json["status"] == "ok"
    wish = {"model": "fake-slow", "max_tokens": 1500, "early_stop": False, "temperature": 1, "diffusing": True}
    with client.begin({**wish, "messages": [{"role": "user", "content": "x"}], "stream": True}):
        until(lambda: client.model("fake-slow")["n_active"] == 1, "it is at work")
        (worker,) = children(server)
        suspend(worker)
        try:
            until(lambda: client.get("/ready").status == 503, "the watchdog has seen it")
            assert client.get("/ready").error["code"] == "stuck"
            assert client.get("/health").status == 200
        finally:
            os.kill(worker, signal.SIGCONT)
        until(lambda: client.get("/ready").status == 200, "it is well again")


# -- fairness


def test_a_full_queue_says_when_to_come_back(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_BATCH="1", HOSHIKAGE_MAX_WAITING="3")
    wish = {"model": "fake-slow", "max_tokens": 1500, "n": 64, "early_stop": False, "temperature": 1}
    body = {**wish, "messages": [{"role": "user", "content": "x"}]}
    held = [server.client.begin(body)]
    until(lambda: server.client.model("fake-slow")["n_active"] == 1, "one is at work")
    held += [server.client.begin(body) for _ in range(3)]
    until(lambda: server.client.model("fake-slow")["n_waiting"] == 3, "three wait")
    refused = server.client.chat(model="fake-slow", max_tokens=1)
    assert refused.status == 429 and refused.error["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1
    for connection in held:
        connection.close()


def test_one_key_cannot_take_all_places(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_API_KEYS="one,two", HOSHIKAGE_MAX_PER_KEY="1")
    one, two = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
    wish = {"model": "fake-slow", "max_tokens": 1500, "n": 64, "early_stop": False, "temperature": 1}
    data = json.dumps({**wish, "messages": [{"role": "user", "content": "x"}]}).encode()
    short = {"model": "fake", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    with server.client.connect() as connection:
        connection.sendall(request(CHAT, data, **one))
        # Not by asking with the same key, which might take the place first.
        card = "/v1/models/fake-slow"
        until(lambda: server.client.get(card, **two).json["n_active"] == 1, "its only place is taken")
        refused = server.client.post(CHAT, short, **one)
        assert refused.error["type"] == "rate_limit_error" and int(refused.headers["retry-after"]) >= 1
        assert server.client.post(CHAT, short, **two).status == 200
    until(lambda: status_if(server.client.post(CHAT, short, **one), 200), "its place is free again")


def status_if(answer: Answer, status: int) -> Answer | None:
    return answer if answer.status == status else None


def test_fifty_short_ones_are_served_beside_a_long_one(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_BATCH="4")
    wish = {"model": "fake", "max_tokens": 400, "early_stop": False, "temperature": 1}
    answers: list[int] = []
    shown = {"messages": [{"role": "user", "content": "x"}], "stream": True, "diffusing": True}
    with server.client.begin({**wish, **shown}):
        threads = [
            threading.Thread(target=lambda: answers.append(server.client.chat(max_tokens=4).status)) for _ in range(50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 50


def test_as_many_requests_as_may_work_and_no_more(new_server: NewServer) -> None:
    server = new_server(HOSHIKAGE_MAX_STREAMS="2")
    wish = {"model": "fake-slow", "max_tokens": 1500, "n": 64, "early_stop": False, "temperature": 1}
    body = {**wish, "messages": [{"role": "user", "content": "x"}]}
    with server.client.begin(body), server.client.begin(body):
        refused = until(lambda: one_too_many(server), "two are at work")
        assert refused.error["code"] == "too_many_requests" and refused.headers["retry-after"] == "1"
        assert server.client.get("/health").status == 200
    until(lambda: server.client.get("/v1/status").status == 200, "there is room again")


def one_too_many(server: Server) -> Answer | None:
    answer = server.client.get("/v1/status")
    return answer if answer.status == 429 else None
