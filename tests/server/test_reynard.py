"""Reynard's routes: its clients' requests as they are, its statistics field by field, and what it never bounded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TinyModel
from tests.server.client import Answer, Client, lines_of, request, until
from tests.server.conftest import NewServer, Server, write_map

BASE = "/api/diffusion"
WISH: dict[str, Any] = {"model_id": "fake", "max_length": 20, "seed": 9, "early_stop": False, "logits_eos_inf": True}
GAP = {"prefix": "The quick brown fox", "suffix": "over the lazy dog."}


def generate(client: Client, text: str = "Once upon a time", where: str = "/generate", **more: Any) -> Answer:
    return client.post(BASE + where, {**WISH, "text": text, **more})


def lines(answer: Answer) -> list[dict[str, Any]]:
    """What a client reads that takes each line for JSON."""
    assert answer.headers["content-type"].startswith("application/x-ndjson"), answer.body
    return [json.loads(line) for line in answer.body.splitlines() if line]


def write_aliases(folder: Path, model: Path) -> None:
    """An owner's own files under Reynard's two names."""
    path = folder / "model_map.json"
    entry = {"path": str(model.parent), "model": model.name, "stop": []}
    path.write_text(json.dumps({**json.loads(path.read_text()), "dreamon": entry, "llada": entry}))


@pytest.fixture(scope="module")
def aliased(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Any:
    folder = tmp_path_factory.mktemp("reynard")
    write_map(folder, tiny_model)
    write_aliases(folder, tiny_model("llada"))
    server = Server(folder)
    yield server
    server.close()


def test_a_text_is_continued(server: Server) -> None:
    answer = generate(server.client).json
    assert answer["success"] is True and answer["model_id"] == "fake"
    settings = {"temperature": 0.7, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1, "logits_eos_inf": True}
    theirs = server.client.complete("Once upon a time", max_tokens=20, seed=9, early_stop=False, **settings).json
    assert answer["generated_text"] == theirs["choices"][0]["text"], "its own settings hold where nothing is said"
    assert answer["processing_time"] > 0
    assert answer["tokens_generated"] == theirs["usage"]["completion_tokens"]


def test_lines_for_those_who_read_lines(server: Server) -> None:
    plain = generate(server.client).json
    events = lines(generate(server.client, where="/generate/stream", stream=True))
    assert {event["type"] for event in events[:-1]} == {"token"} and events[-1]["type"] == "complete"
    assert "".join(event["data"] for event in events[:-1]) == plain["generated_text"] == events[-1]["data"]
    assert all(event["timestamp"] > 0 for event in events)
    assert events[-1]["metadata"]["tokens_generated"] == plain["tokens_generated"]


def test_events_for_those_who_accept_them(server: Server) -> None:
    body = {**WISH, "text": "Once upon a time"}
    answer = server.client.post(f"{BASE}/generate/stream", body, Accept="text/event-stream")
    texts = [(event["type"], event["data"]) for event in answer.events]
    whole = generate(server.client).json["generated_text"]
    assert texts[-1] == ("complete", whole)
    assert "".join(data for kind, data in texts if kind == "token") == whole


def test_a_gap_is_filled(server: Server) -> None:
    answer = server.client.post(f"{BASE}/infill", {**WISH, **GAP}).json
    assert answer["success"] and answer["infilled_text"]
    events = lines(server.client.post(f"{BASE}/infill/stream", {**WISH, **GAP, "stream": True}))
    assert "".join(event["data"] for event in events[:-1]) == answer["infilled_text"]


def test_both_names_lead_somewhere_from_the_first(server: Server) -> None:
    for name in ("dreamon", "llada"):
        answer = generate(server.client, "12+35=", model_id=name, max_length=8).json
        assert answer["model_id"] == name and answer["metadata"]["model"].startswith("nano-")
    known = {model["model_id"]: model for model in server.client.get(f"{BASE}/models").json["models"]}
    assert known["dreamon"]["is_available"] and known["llada"]["is_available"] and "fake" in known
    assert "nano-ar" not in known, "no diffusion model"


def test_an_owner_points_the_names_at_files(aliased: Server) -> None:
    answer = generate(aliased.client, model_id="dreamon").json
    assert answer["metadata"]["model"] == "dreamon"
    ranges = {"max_length": 2049, "temperature": 2.1, "top_p": 0.05, "top_k": 101}
    for name, value in ranges.items():
        refused = generate(aliased.client, model_id="dreamon", **{name: value})
        assert (refused.status, refused.json["error"]["param"]) == (400, name)
    assert generate(aliased.client, model_id="llada", max_length=1025).status == 400
    assert generate(aliased.client, temperature=2.1).status == 200, "a model by its own name has its own ranges"


def test_a_name_that_points_nowhere(new_server: NewServer) -> None:
    server = new_server()
    path = server.folder / "model_map.json"
    gone = {"path": str(server.folder), "model": "gone.gguf", "stop": []}
    path.write_text(json.dumps({"fake": json.loads(path.read_text())["fake"], "dreamon": gone}))
    answer = generate(server.client, model_id="dreamon")
    assert answer.status == 500 and answer.json["success"] is False, answer.body
    assert str(server.folder) not in answer.body.decode()
    assert generate(server.client, model_id="nobody").status == 404
    known = {model["model_id"]: model for model in server.client.get(f"{BASE}/models").json["models"]}
    assert known["dreamon"]["is_available"] is False


def test_only_who_names_no_model_gets_another_one(new_server: NewServer) -> None:
    client = new_server(DIFFUSION_DEFAULT_MODEL="broken").client
    body = {"text": "12+35=", "max_length": 4}
    answer = client.post(f"{BASE}/generate", body)
    assert answer.status == 200, answer.body
    assert answer.json["model_id"] == "fake", "the owner's own before an embedded one"
    refused = client.post(f"{BASE}/generate", {**body, "model_id": "broken"})
    assert refused.status == 500 and refused.json["success"] is False
    assert lines(client.post(f"{BASE}/generate/stream", body))[-1]["type"] == "complete"


def test_a_list_in_its_order(server: Server) -> None:
    texts = [f"text {i}" for i in range(7)]
    answer = server.client.post(f"{BASE}/batch/generate", {**WISH, "texts": texts}).json
    assert [result["input_text"] for result in answer["results"]] == texts
    alone = [generate(server.client, text).json["generated_text"] for text in texts]
    assert [result["generated_text"] for result in answer["results"]] == alone
    assert answer["tokens_generated"] == 140 and answer["parallel_processing_used"] is True
    own = [{"text": "a"}, {"text": "b", "max_length": 5}]
    mixed = server.client.post(f"{BASE}/batch/generate", {**WISH, "requests": own, "parallel_processing": False}).json
    assert [result["tokens_generated"] for result in mixed["results"]] == [20, 5]
    gaps = server.client.post(f"{BASE}/batch/infill", {**WISH, "infill_requests": [GAP, GAP]}).json
    assert gaps["results"][0]["infilled_text"] == gaps["results"][1]["infilled_text"] != ""


def test_one_of_a_list_that_fails_leaves_the_others_alone(server: Server) -> None:
    body = {**WISH, "requests": [{"text": "a"}, {"text": "x" * 600}, {"text": "b"}]}
    answer = server.client.post(f"{BASE}/batch/generate", body).json
    assert [result["success"] for result in answer["results"]] == [True, False, True]
    assert answer["results"][1]["code"] == "context_length_exceeded" and answer["metadata"]["successful"] == 2


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [("/generate", {}, "text"), ("/generate", {"text": " "}, "text"), ("/generate", {"text": 5}, "text"),
     ("/generate", {"text": "a", "max_length": 0}, "max_length"),
     ("/generate", {"text": "a", "model_id": 1}, "model_id"),
     ("/generate", {"text": "a", "maxlength": 5}, "maxlength"), ("/infill", {"prefix": "a"}, "suffix"),
     ("/infill", {"prefix": "", "suffix": "b"}, "prefix"), ("/infill", {**GAP, "model_id": "nano-ar"}, "model_id"),
     ("/batch/generate", {"texts": ["a"] * 51}, "texts"), ("/batch/generate", {"texts": []}, "texts"),
     ("/batch/generate", {}, "requests"), ("/batch/generate", {"texts": ["a"], "requests": ["b"]}, "requests"),
     ("/batch/generate", {"texts": ["a", ""]}, "texts[1].text"),
     ("/batch/infill", {"infill_requests": [GAP] * 51}, "infill_requests"),
     ("/batch/infill", {"infill_requests": [{"prefix": "a"}]}, "infill_requests[0].suffix"),
     ("/batch/generate", {"texts": ["a"], "batch_size": 17}, "batch_size"), ("/config", {"enabled": False}, "enabled"),
     ("/config", {"temperature": -1}, "temperature"), ("/config", {"temperatur": 1}, "temperatur")],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_wrong_is_named(server: Server, path: str, body: dict[str, Any], param: str) -> None:
    answer = server.client.post(BASE + path, body)
    assert answer.status == 400, answer.body[:300]
    assert answer.json["success"] is False and answer.json["type"] == "error" and answer.json["detail"]
    assert answer.json["error"]["param"] == param


def test_a_gap_that_is_too_long_is_an_error_before_the_first_line(server: Server) -> None:
    answer = server.client.post(f"{BASE}/infill/stream", {**GAP, "model_id": "fake", "max_length": 600})
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == "error", "a client that reads events reads this one, too"


def test_what_was_done_is_counted(new_server: NewServer) -> None:
    client = new_server().client
    empty = client.get(f"{BASE}/admin/stats").json
    assert list(empty) == [
        "total_requests", "successful_requests", "failed_requests", "average_processing_time",
        "total_tokens_generated", "model_usage", "device_usage", "error_rate",
    ]  # fmt: skip
    n_tokens = sum(generate(client).json["tokens_generated"] for _ in range(3))
    generate(client, "x" * 600)
    assert client.get(f"{BASE}/admin/stats").json == {
        "total_requests": 4, "successful_requests": 3, "failed_requests": 1, "total_tokens_generated": n_tokens,
        "model_usage": {"fake": 3}, "device_usage": {"cpu": 3}, "error_rate": 25.0,
        "average_processing_time": pytest.approx(30, abs=30),
    }  # fmt: skip


def test_the_owner_changes_what_holds(new_server: NewServer) -> None:
    client = new_server(DIFFUSION_MAX_LENGTH="30", DIFFUSION_TEMPERATURE="0.5").client
    config = client.get(f"{BASE}/config").json
    assert config == {
        "enabled": True, "default_model": None, "device_preference": None, "max_concurrent_requests": 3,
        "memory_threshold": 0.8, "timeout_seconds": 300.0, "max_length": 30, "temperature": 0.5, "top_p": 0.9,
        "top_k": 50, "repetition_penalty": 1.1,
    }  # fmt: skip
    body = {"text": "hello", "model_id": "fake", "early_stop": False, "logits_eos_inf": True, "seed": 3}
    assert client.post(f"{BASE}/generate", body).json["tokens_generated"] == 30
    changed = client.post(f"{BASE}/config", {"max_length": 7, "default_model": "fake", "max_concurrent_requests": 1})
    assert changed.json == {**config, "max_length": 7, "default_model": "fake", "max_concurrent_requests": 1}
    answer = client.post(f"{BASE}/generate", {**body, "model_id": None}).json
    assert (answer["tokens_generated"], answer["model_id"]) == (7, "fake")
    assert client.post(f"{BASE}/config", {"default_model": "nobody"}).status == 404
    assert client.post(f"{BASE}/config", changed.json).json == changed.json, "what is shown can be sent back"
    assert client.post(f"{BASE}/config", {"default_model": None, "top_k": None}).json["default_model"] is None
    assert client.post(f"{BASE}/config", config).json == config


def test_a_default_that_fills_no_gap_is_passed_over(new_server: NewServer) -> None:
    client = new_server().client
    assert client.post(f"{BASE}/config", {"default_model": "nano-ar"}).status == 200
    assert client.post(f"{BASE}/generate", {"text": "12+35=", "max_length": 4}).json["model_id"] == "nano-ar"
    answer = client.post(f"{BASE}/infill", {**GAP, "max_length": 4})
    assert answer.status == 200 and answer.json["model_id"] != "nano-ar", answer.body


def test_owners_routes_are_for_owners(new_server: NewServer) -> None:
    client = new_server(HOSHIKAGE_API_KEYS="user", HOSHIKAGE_ADMIN_KEY="owner").client
    user, owner = ({"Authorization": f"Bearer {key}"} for key in ("user", "owner"))
    assert client.get(f"{BASE}/models").status == 401
    assert client.get(f"{BASE}/models", **user).status == client.get(f"{BASE}/config", **user).status == 200
    for path in ("stats", "health", "models"):
        refused = client.get(f"{BASE}/admin/{path}", **user)
        assert refused.status == 403 and refused.json["success"] is False
        assert client.get(f"{BASE}/admin/{path}", **owner).status == 200
    assert client.post(f"{BASE}/config", {"top_k": 5}, **user).status == 403


def test_models_are_loaded_anew_and_let_go(new_server: NewServer) -> None:
    client = new_server().client
    generate(client)
    assert client.get(f"{BASE}/admin/health").json["status"] == "healthy"
    details = {model["model_id"]: model for model in client.get(f"{BASE}/admin/models").json["models"]}
    assert details["fake"]["details"]["state"] == "resident" and details["fake"]["device"] == "cpu"
    assert client.post(f"{BASE}/admin/models/fake/reload", {}).json["success"] is True
    assert client.model("fake")["state"] == "resident"
    assert client.post(f"{BASE}/admin/models/nobody/reload", {}).status == 404
    assert client.post(f"{BASE}/admin/models/broken/reload", {}).status == 500
    assert client.post(f"{BASE}/admin/cleanup", {}).json["unloaded"] == ["fake"]
    until(lambda: client.model("fake")["state"] == "cold", "let go")


def test_the_others_wait_and_those_who_leave_make_room(new_server: NewServer) -> None:
    client = new_server(DIFFUSION_MAX_CONCURRENT_REQUESTS="1").client
    slow = {"model_id": "fake-slow", "text": "hello", "max_length": 512, "early_stop": False}

    def at_work() -> dict[str, Any]:
        health: dict[str, Any] = client.get(f"{BASE}/admin/health").json
        return health

    first = client.begin(slow, f"{BASE}/generate/stream")
    assert b"token" in next(line for line in lines_of(first) if b"token" in line)
    second, third = client.begin(slow, f"{BASE}/generate"), client.begin(slow, f"{BASE}/generate/stream")
    until(lambda: at_work()["waiting_requests"] == 2, "both wait")
    second.close()
    until(lambda: at_work()["waiting_requests"] == 1, "one has left the line")
    first.close()
    assert b"token" in next(line for line in lines_of(third) if b"token" in line)
    third.close()
    until(lambda: at_work()["active_requests"] == 0, "all have left")
    assert generate(client).status == 200


KEYS = {"HOSHIKAGE_API_KEYS": "a,b", "HOSHIKAGE_ADMIN_KEY": "owner", "DIFFUSION_MAX_CONCURRENT_REQUESTS": "1"}


def n_waiting(client: Client) -> int:
    health = client.get(f"{BASE}/admin/health", Authorization="Bearer owner").json
    return int(health["waiting_requests"])


def of_key(client: Client, key: str) -> Answer:
    return client.post(f"{BASE}/generate", {**WISH, "text": "hello"}, Authorization=f"Bearer {key}")


@contextmanager
def at_work(client: Client) -> Iterator[None]:
    """While key a has the only turn."""
    body = {"model_id": "fake-slow", "text": "hello", "max_length": 1500, "steps": 1500, "early_stop": False}
    with client.connect() as connection:
        line = request(f"{BASE}/generate/stream", json.dumps(body).encode(), Authorization="Bearer a")
        connection.sendall(line)
        assert b"token" in next(line for line in lines_of(connection) if b"token" in line)
        yield


def test_keys_take_turns(new_server: NewServer) -> None:
    client, done = new_server(**KEYS).client, list[str]()

    def ask(key: str) -> None:
        assert of_key(client, key).status == 200
        done.append(key)

    threads = [threading.Thread(target=ask, args=(key,)) for key in "aaaaaaaab"]
    with at_work(client):
        for n, thread in enumerate(threads, 1):
            thread.start()
            until(partial(lambda n: n_waiting(client) == n, n), "it stands in the line")
    for thread in threads:
        thread.join()
    assert "b" in done[:4], done


def test_one_key_has_so_many_there_and_a_list_keeps_to_it(new_server: NewServer) -> None:
    client, outcomes = new_server(**KEYS, HOSHIKAGE_MAX_PER_KEY="2").client, list[int]()
    second = threading.Thread(target=lambda: outcomes.append(of_key(client, "a").status))
    with at_work(client):
        second.start()
        until(lambda: n_waiting(client) == 1, "it stands in the line")
        refused = of_key(client, "a")
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) > 0
    second.join()
    assert outcomes == [200]
    body = {**WISH, "texts": ["hello"] * 9, "batch_size": 9}
    many = client.post(f"{BASE}/batch/generate", body, Authorization="Bearer a").json
    assert many["metadata"]["successful"] == 9 and many["batch_size"] == 2


def test_a_request_takes_no_longer_than_it_may(new_server: NewServer) -> None:
    client = new_server(DIFFUSION_TIMEOUT_SECONDS="0.3", DIFFUSION_MAX_CONCURRENT_REQUESTS="1").client
    slow = {"model_id": "fake-slow", "text": "hello", "max_length": 1500, "early_stop": False}
    outcomes: list[int] = []

    def ask(post: Callable[..., Answer] = client.post) -> None:
        outcomes.append(post(f"{BASE}/generate", slow).status)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [504, 504], "one at work, the other in the line"


@pytest.mark.parametrize(
    ("settings", "wish", "status"),
    [
        ({"DIFFUSION_TIMEOUT_SECONDS": "0.3"}, {"timeout": 60}, 504),
        ({"DIFFUSION_TIMEOUT_SECONDS": "0", "HOSHIKAGE_MAX_TIME": "0.3"}, {}, 504),
        ({"DIFFUSION_TIMEOUT_SECONDS": "0", "HOSHIKAGE_MAX_TIME": "0.3"}, {"timeout": 60}, 504),
        ({"DIFFUSION_TIMEOUT_SECONDS": "0"}, {"timeout": 0.3}, 504),
        ({"DIFFUSION_TIMEOUT_SECONDS": "0"}, {"max_length": 4}, 200),
    ],
)
def test_the_shortest_limit_holds(
    new_server: NewServer, settings: dict[str, str], wish: dict[str, Any], status: int
) -> None:
    client = new_server(**settings).client
    slow = {"model_id": "fake-slow", "max_length": 1500, "steps": 1500, "early_stop": False}
    assert generate(client, **{**slow, **wish}).status == status


def test_the_line_is_a_part_of_the_wait(new_server: NewServer) -> None:
    client = new_server(DIFFUSION_MAX_CONCURRENT_REQUESTS="1", HOSHIKAGE_MAX_WAIT="20").client
    slow = {"model_id": "fake-slow", "text": "hello", "max_length": 1500, "steps": 1500, "early_stop": False}
    with client.begin(slow, f"{BASE}/generate/stream") as first:
        assert b"token" in next(line for line in lines_of(first) if b"token" in line)
        answer = generate(client, queue_timeout=0.1)
        assert (answer.status, answer.error["code"]) == (503, "processing_timeout")
        assert client.get(f"{BASE}/admin/health").json["active_requests"] == 1, "the first goes on"


def test_the_routes_can_be_left_out(new_server: NewServer) -> None:
    client = new_server(DIFFUSION_ENABLED="false").client
    assert client.get(f"{BASE}/models").status == 404
    assert client.chat(max_tokens=2).status == 200


def test_no_turn_is_lost(server: Server) -> None:
    body = json.dumps({**WISH, "text": "hello", "max_length": 200}).encode()

    def active() -> int:
        return server.client.get(f"{BASE}/admin/health").json["active_requests"]

    with ExitStack() as leaving:
        for _ in range(20):
            leaving.enter_context(server.client.connect()).sendall(request(f"{BASE}/generate/stream", body))
        until(lambda: active() > 0, "one is at work")
    until(lambda: active() == 0, "all turns are back")
