"""llama-server's shapes: completions, gaps, models with buttons, and what looking at them wakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import TinyModel
from tests.server.client import Answer, lines_of, request, until
from tests.server.conftest import NewServer, Server

WISH: dict[str, Any] = {"model": "fake", "n_predict": 20, "temperature": 1, "seed": 9, "early_stop": False}


def complete(server: Server, prompt: Any = "hello", **more: Any) -> Answer:
    return server.client.post("/completion", {**WISH, "prompt": prompt, **more})


def infill(server: Server, **more: Any) -> Answer:
    return server.client.post("/infill", {**WISH, "input_prefix": "def f(", "input_suffix": "):", **more})


def texts(answer: Answer) -> str:
    return "".join(event["content"] for event in answer.events)


@pytest.mark.parametrize("model", ["fake", "nano-ar"])
def test_streamed_and_plain_are_one(server: Server, model: str) -> None:
    plain = complete(server, model=model).json
    assert plain["stop"] is True and plain["model"] == model
    assert plain["tokens_evaluated"] > 0 and plain["tokens_predicted"] <= 20
    assert plain["timings"]["predicted_n"] == plain["tokens_predicted"]
    stream = complete(server, model=model, stream=True)
    assert texts(stream) == plain["content"]
    assert [event["stop"] for event in stream.events] == [False] * (len(stream.events) - 1) + [True]
    assert stream.events[-1]["stop_type"] == plain["stop_type"]


def test_the_text_is_that_of_the_other_door(server: Server) -> None:
    theirs = server.client.complete("hello", max_tokens=20, temperature=1, seed=9, early_stop=False)
    assert complete(server).json["content"] == theirs.json["choices"][0]["text"]
    both = complete(server, ["hello", [104, 105]]).json
    assert [entry["index"] for entry in both] == [0, 1]
    assert both[0]["content"] == theirs.json["choices"][0]["text"]
    assert server.client.post("/completions", {**WISH, "prompt": "hello"}).json["content"] == both[0]["content"]


def test_why_it_stopped_is_told(server: Server) -> None:
    whole = complete(server).json
    assert (whole["stop_type"], whole["stopping_word"]) == ("limit", "")
    word = whole["content"][5:8]
    stopped = complete(server, stop=[word]).json
    assert (stopped["stop_type"], stopped["stopping_word"]) == ("word", word)
    assert stopped["content"] == whole["content"][: whole["content"].index(word)]


def test_minus_one_leaves_it_to_the_server(server: Server) -> None:
    answer = complete(server, n_predict=-1, seed=-1, top_k=-1)
    assert answer.status == 200 and "warning" not in answer.json, answer.body
    for name in ("n_predict", "top_k", "seed"):
        refused = complete(server, **{name: "x"})
        assert (refused.status, refused.error["param"]) == (400, name)


def test_a_bias_in_pairs(server: Server) -> None:
    written = {character for character in complete(server).json["content"] if character.isascii()}
    banned = [[ord(character), False] for character in sorted(written)]
    assert written and not set(complete(server, logit_bias=banned).json["content"]) & written
    for wrong in ([[1]], [["a", 1]], [1], [[1, "x"]], [[True, 1]], [[[], 2]], [[1.5, 2]]):
        assert complete(server, logit_bias=wrong).error["param"] == "logit_bias"


def test_probabilities(server: Server) -> None:
    answer = complete(server, model="nano-ar", n_probs=2).json
    rows = answer["completion_probabilities"]
    assert len(rows) == answer["tokens_predicted"]
    assert all(row["logprob"] <= 0 and len(row["top_logprobs"]) == 2 for row in rows)


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada"])
def test_a_schema_is_followed(server: Server, model: str) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    answer = complete(server, "How old?", model=model, json_schema=schema, n_predict=60)
    assert isinstance(json.loads(answer.json["content"])["age"], int)
    assert complete(server, model=model, grammar="", n_predict=4).status == 200  # none


def test_a_gap_is_filled_as_at_the_other_doors(server: Server) -> None:
    answer = infill(server)
    assert answer.status == 200, answer.body
    theirs = server.client.complete("def f(", suffix="):", max_tokens=20, temperature=1, seed=9, early_stop=False)
    assert answer.json["content"] == theirs.json["choices"][0]["text"]
    assert texts(infill(server, stream=True)) == answer.json["content"]
    begun = infill(server, input_prefix="def ", prompt="f(")
    assert begun.json["content"] == answer.json["content"]
    extra = infill(server, input_extra=[{"filename": "a.py", "text": "import a"}]).json
    assert extra["tokens_evaluated"] == answer.json["tokens_evaluated"] + len("--- a.py ---\nimport a\n\n")


def test_an_editors_request_is_taken_as_it_is(server: Server) -> None:
    """What llama.vim sends."""
    body = {
        "input_prefix": "a = 1\n", "input_suffix": "\nprint(a)\n", "input_extra": [{"text": "x", "time": [1, 2]}],
        "prompt": "b = ", "n_predict": 16, "n_indent": 0, "top_k": 40, "top_p": 0.9, "stream": False,
        "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000, "response_fields": ["content", "timings/prompt_n"], "model": "fake",
    }  # fmt: skip
    answer = server.client.post("/infill", body)
    assert answer.status == 200 and answer.json.keys() == {"content", "timings/prompt_n"}, answer.body
    whole = server.client.post("/infill", {**body, "response_fields": []}).json
    assert whole["content"] == answer.json["content"] and "t_max_predict_ms" in whole["warning"]


def test_an_editor_that_names_no_model_gets_one_that_fills_gaps(new_server: NewServer) -> None:
    """The one that is in memory reads from left to right, and is not asked."""
    server = new_server()
    (server.folder / "model_map.json").write_text("{}")
    client = server.client
    gap = {"input_prefix": "12+", "input_suffix": "=47", "prompt": "", "n_predict": 4}
    assert client.chat(model="nano-ar", max_tokens=2).status == 200
    assert complete(server, model=None, n_predict=2).json["model"] == "nano-ar"
    answer = client.post("/infill", gap)
    assert (answer.status, answer.json["model"]) == (200, "nano-llada"), answer.body
    answer = client.post("/v1/fim/completions", {"prompt": "12+", "suffix": "=47", "max_tokens": 4})
    assert (answer.status, answer.json["model"]) == (200, "nano-llada"), answer.body
    assert client.post("/v1/fim/completions", {"prompt": "12+", "max_tokens": 4}).status == 200


@pytest.mark.parametrize("model", ["fake", "nano-ar"])
@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_written_where_nothing_is_wanted(server: Server, model: str, stream: bool) -> None:
    """What llama.vim warms a cache with."""
    answer = complete(server, model=model, n_predict=0, n_probs=1, stream=stream)
    assert answer.status == 200, answer.body
    (end,) = answer.events if stream else [answer.json]
    assert (end["content"], end["tokens_predicted"], end["stop_type"]) == ("", 0, "limit")
    assert end["tokens_evaluated"] > 0 and not end.get("completion_probabilities")
    assert infill(server, n_predict=0).json["content"] == ""


def test_several_answers_are_several_events_in_any_case(new_server: NewServer) -> None:
    server = new_server(DIFFUSION_STREAM="single")
    wish = {**WISH, "prompt": ["ab", "cd"]}
    plain = server.client.post("/completion", wish).json
    events = server.client.post("/completion", {**wish, "stream": True}).events
    assert all(isinstance(event, dict) for event in events) and sum(event["stop"] for event in events) == 2
    for i in range(2):
        assert "".join(event["content"] for event in events if event["index"] == i) == plain[i]["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_no_probability_is_told_of_a_stop_string(server: Server, stream: bool) -> None:
    text = complete(server, n_probs=1).json["content"]
    stop = next(text[i] for i in range(3, 20) if text[i].isascii() and text.index(text[i]) == i)
    answer = complete(server, n_probs=1, stop=[stop], stream=stream)
    parts = answer.events if stream else [answer.json]
    pieces = [bytes(row["bytes"]) for part in parts for row in part.get("completion_probabilities", ())]
    content = "".join(part["content"] for part in parts)
    assert content == text[: text.index(stop)]
    assert b"".join(pieces).decode(errors="replace") == content


@pytest.mark.parametrize(
    ("more", "param"),
    [({"input_prefix": 5}, "input_prefix"), ({"input_extra": "x"}, "input_extra"),
     ({"input_extra": [{"filename": "a"}]}, "input_extra[0].text"), ({"input_extra": [{}] * 2000}, "input_extra"),
     ({"n_predict": -2}, "n_predict"), ({"model": "nano-ar"}, "model"),
     ({"n_predict": 4, "max_tokens": 5}, "max_tokens")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_filled_is_named(server: Server, more: dict[str, Any], param: str) -> None:
    answer = infill(server, **more)
    assert (answer.status, answer.error["param"]) == (400, param), answer.body


def test_a_gap_longer_than_the_context(server: Server) -> None:
    answer = infill(server, n_predict=600)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


def test_too_long_a_text_is_named_as_it_was_sent(server: Server) -> None:
    long = "x" * 600
    named = {
        "/infill": "input_prefix", "/completion": "prompt", "/v1/completions": "prompt", "/v1/responses": "input",
        "/v1/chat/completions": "messages", "/v1/messages": "messages", "/api/diffusion/generate": "text",
    }  # fmt: skip
    for path, name in named.items():
        text: Any = [{"role": "user", "content": long}] if name == "messages" else long
        more = {"max_tokens": 4} if path == "/v1/messages" else {}
        model = "model_id" if path.startswith("/api") else "model"
        error = server.client.post(path, {model: "fake", name: text, **more}).json["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", name)
    template = {"model": "fake", "template": [long, 4, "."]}
    assert server.client.post("/v1/completions", template).error["param"] == "template"


def test_both_places_of_a_filled_gap(server: Server) -> None:
    body = {"model": "fake", "prompt": "def f(", "suffix": "):", "max_tokens": 20, "seed": 9, "temperature": 1}
    (whole,) = server.client.post("/v1/fim/completions", body).json["choices"]
    assert whole["text"] == whole["message"]["content"] == whole["delta"]["content"] != ""
    stream = server.client.post("/v1/fim/completions", {**body, "stream": True})
    assert stream.events[-1] == "[DONE]"
    pieces = [choice for event in stream.events[:-1] for choice in event["choices"]]
    assert "".join(piece["delta"]["content"] for piece in pieces) == whole["text"]
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    nothing_behind = server.client.post("/v1/fim/completions", {**body, "suffix": "", "model": "nano-ar"})
    assert nothing_behind.status == 200, nothing_behind.body
    assert server.client.post("/v1/fim/completions", {**body, "model": "nano-ar"}).error["param"] == "suffix"


def test_looking_wakes_no_model(new_server: NewServer) -> None:
    server = new_server()
    for path in ("/models", "/props", "/props?model=tiny", "/slots", "/slots?model=fake", "/tokenizer_info"):
        assert server.client.get(path).status == 200, path
    assert {card["state"] for card in server.client.get("/models").json["data"]} <= {"cold", "failed"}
    props = server.client.get("/props?model=nano-ar").json
    assert props["chat_template"] and props["is_sleeping"] and props["total_slots"] == 8
    assert "/" not in props["model_path"]
    assert server.client.get("/slots?model=nano-ar").json == []
    assert server.client.get("/props?model=nobody").error["code"] == "model_not_found"
    assert server.client.get("/slots?model=nobody").status == 404


def test_the_buttons_work(new_server: NewServer) -> None:
    server = new_server()
    client = server.client

    def status() -> str:
        cards = {card["id"]: card for card in client.get("/models").json["data"]}
        return str(cards["fake"]["status"]["value"])

    assert status() == "unloaded"
    assert client.post("/models/load", {"model": "fake"}).json == {"success": True}
    until(lambda: status() == "loaded", "loaded")
    assert len(client.get("/slots?model=fake").json) == 8
    assert client.post("/models/unload", {"model": "fake"}).json == {"success": True}
    until(lambda: status() == "unloaded", "unloaded")
    assert client.post("/models/load", {"model": "nobody"}).status == 404
    assert client.post("/models/load", {}).error["param"] == "model"


def test_who_watches_hears_every_change_and_nothing_else(new_server: NewServer) -> None:
    """pi takes an `unloaded` of the model that it loads for the end of it."""
    server = new_server()
    with server.client.connect() as connection:
        connection.sendall(request("/models/sse", b"", "GET", Content_Type="", Content_Length=""))
        lines = lines_of(connection)
        next(line for line in lines if line.startswith(b":"))  # from here on
        server.client.post("/models/load", {"model": "fake"})
        events = (json.loads(line[6:]) for line in lines if line.startswith(b"data: "))
        told = [next(events)]
        while told[-1]["data"]["status"] != "loaded":
            told.append(next(events))
        assert {event["model"] for event in told} == {"fake"}
        assert "unloaded" not in {event["data"]["status"] for event in told}
        assert told[-1]["data"]["info"]["id"] == "fake"
        assert server.stop() == 0, "who watches does not keep the server from ending"


def test_names_come_and_go(new_server: NewServer, tiny_model: TinyModel) -> None:
    client = new_server().client
    path = str(tiny_model("llada"))
    assert client.post("/models", {"model": "mine", "path": path}).status == 201
    assert client.post("/models", {"model": "mine", "path": str(tiny_model("dream"))}).status == 409
    assert client.post("/models", {"model": "org/repo:Q4"}).error["param"] == "path"
    assert client.ask("DELETE", "/models?model=mine").json == {"success": True}
    assert client.get("/v1/models/mine").status == 404
    assert client.ask("DELETE", "/models?model=mine").status == 404
    for refused in (client.ask("DELETE", "/models?model=nano-ar"), client.post("/models", {"model": "", "path": path})):
        assert refused.error["param"] == "model" and refused.status in (400, 409), refused.body
    assert client.ask("DELETE", "/models").error["param"] == "model"


def test_a_conversation_as_the_model_reads_it(server: Server) -> None:
    messages = [{"role": "user", "content": "hello"}]
    answer = server.client.post("/apply-template", {"model": "fake", "messages": messages})
    assert answer.status == 200, answer.body
    assert "hello" in answer.json["prompt"] and answer.json["prompt"].endswith("[assistant]")
    assert server.client.post("/apply-template", {"messages": "x"}).error["param"] == "messages"


@pytest.mark.parametrize("model", ["fake", "nano-ar", "nano-llada"])
def test_a_rendered_conversation_is_the_prompt_that_it_was(server: Server, model: str) -> None:
    messages = [{"role": "user", "content": "hello"}]
    text = server.client.post("/apply-template", {"model": model, "messages": messages}).json["prompt"]
    wish = {"model": model, "max_tokens": 1}
    n_chat = server.client.post("/v1/chat/completions", {**wish, "messages": messages}).json["usage"]["prompt_tokens"]

    def n_read(path: str, **more: bool) -> int:
        answer = server.client.post(path, {**wish, "prompt": text, **more}).json
        return int(answer["usage"]["prompt_tokens"] if path.startswith("/v1") else answer["tokens_evaluated"])

    for path in ("/completion", "/completions", "/v1/completions"):
        assert n_read(path) == n_chat < n_read(path, parse_special=False)


@pytest.mark.parametrize("model", ["fake", "nano-ar", "nano-block", "nano-llada"])
def test_a_conversation_may_end_with_what_was_said(server: Server, model: str) -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "bye"}]

    def prompt(**more: bool) -> str:
        answer = server.client.post("/apply-template", {"model": model, "messages": messages, **more})
        assert answer.status == 200 and "warning" not in answer.json, answer.body
        text: str = answer.json["prompt"]
        return text

    said, begun = prompt(add_generation_prompt=False), prompt(add_generation_prompt=True)
    assert begun.startswith(said) and said.startswith(prompt()) and prompt().endswith("bye")
    assert begun == prompt(continue_final_message=False)
    assert "bye" in said and "assistant" in begun[len(said) :] and "bye" not in begun[len(said) :]
    wrong = server.client.post("/apply-template", {"messages": messages, "add_generation_prompt": "no"})
    assert (wrong.status, wrong.error["param"]) == (400, "add_generation_prompt")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/apply-template", {"messages": [{"role": "user", "content": "a"}], "xyzzy": 1}),
     ("/tokenize", {"content": "a", "xyzzy": 1}), ("/detokenize", {"tokens": [97], "xyzzy": 1}),
     ("/models/load", {"xyzzy": 1}), ("/models/unload", {"xyzzy": 1}),
     ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "a"}], "xyzzy": 1})],
    ids=str,
)  # fmt: skip
def test_what_has_no_effect_is_warned_of(server: Server, path: str, body: dict[str, Any]) -> None:
    answer = server.client.post(path, {"model": "fake", **body})
    assert answer.status == 200 and f"{[*body][-1]}" in answer.json["warning"]
    body.popitem()
    assert "warning" not in server.client.post(path, {"model": "fake", **body}).json


def test_a_token_that_is_none_is_named(server: Server) -> None:
    answer = server.client.post("/detokenize", {"model": "fake", "tokens": [999_999]})
    assert (answer.status, answer.error["param"]) == (400, "tokens")
    assert answer.error["message"].startswith("tokens: ")
