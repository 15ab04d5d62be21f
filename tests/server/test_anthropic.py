"""Anthropic's Messages: its shapes whole and streamed, its tools, its errors, and what it counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.client import Answer
from tests.server.conftest import NewServer, Server

HELLO = [{"role": "user", "content": "hello"}]
WISH: dict[str, Any] = {"model": "fake", "max_tokens": 40, "messages": HELLO, "seed": 3, "temperature": 1}
PLACES = ["Kyoto", "Oslo"]  # no tool call of a toy model ends of itself where any text may follow
TOOL = {
    "name": "get_weather",
    "description": "Weather of a place",
    "input_schema": {"type": "object", "properties": {"place": {"enum": PLACES}}, "required": ["place"]},
}


def ask(server: Server, **more: Any) -> Answer:
    return server.client.post("/v1/messages", {**WISH, **more})


def events(answer: Answer) -> list[dict[str, Any]]:
    """The events of a stream, each of which says its type twice."""
    found = []
    for block in answer.body.decode().strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return [event for event in found if event["type"] != "ping"]


@pytest.mark.parametrize("model", ["fake", "nano-ar"])
def test_streamed_and_plain_are_one(server: Server, model: str) -> None:
    plain = ask(server, model=model).json
    assert (plain["type"], plain["role"], plain["model"]) == ("message", "assistant", model)
    (block,) = plain["content"]
    assert block["type"] == "text"
    got = events(ask(server, model=model, stream=True))
    assert [event["type"] for event in got[:2]] == ["message_start", "content_block_start"]
    assert [event["type"] for event in got[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert got[0]["message"]["content"] == [] and got[0]["message"]["stop_reason"] is None
    pieces = [event["delta"]["text"] for event in got if event["type"] == "content_block_delta"]
    assert "".join(pieces) == block["text"]
    assert got[-2]["delta"]["stop_reason"] == plain["stop_reason"]
    assert got[-2]["usage"] == plain["usage"] and plain["usage"]["input_tokens"] > 0


def test_the_text_is_that_of_the_other_door(server: Server) -> None:
    theirs = server.client.chat("hello", max_tokens=40, seed=3, temperature=1).json
    assert ask(server).json["content"][0]["text"] == theirs["choices"][0]["message"]["content"]
    blocks = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert ask(server, messages=blocks).json["content"] == ask(server).json["content"]


def test_why_it_stopped(server: Server) -> None:
    whole = ask(server, early_stop=False, logits_eos_inf=True, confidence_eos_eot_inf=True).json
    word = whole["content"][0]["text"][3:5]
    stopped = ask(server, early_stop=False, logits_eos_inf=True, confidence_eos_eot_inf=True, stop_sequences=[word])
    assert (stopped.json["stop_reason"], stopped.json["stop_sequence"]) == ("stop_sequence", word)
    short = ask(server, model="nano-ar", max_tokens=1).json
    assert (short["stop_reason"], short["stop_sequence"]) == ("max_tokens", None)
    sum_of = [{"role": "user", "content": "12+35="}]
    assert ask(server, model="nano-ar", messages=sum_of).json["stop_reason"] == "end_turn"


def test_a_tool_is_used(server: Server) -> None:
    wish = {"model": "nano-ar", "tools": [TOOL], "tool_choice": {"type": "any"}, "max_tokens": 100, "temperature": 0}
    plain = ask(server, **wish).json
    assert plain["stop_reason"] == "tool_use"
    (block,) = plain["content"]
    assert (block["type"], block["name"]) == ("tool_use", "get_weather") and block["input"]["place"] in PLACES
    got = events(ask(server, **wish, stream=True))
    (start,) = [event["content_block"] for event in got if event["type"] == "content_block_start"]
    assert (start["type"], start["name"], start["input"]) == ("tool_use", "get_weather", {})
    parts = [event["delta"]["partial_json"] for event in got if event["type"] == "content_block_delta"]
    assert json.loads("".join(parts)) == block["input"]
    turns = [
        *HELLO,
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see"}, block]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "sunny"}]},
    ]
    assert ask(server, model="nano-ar", messages=turns, tools=[TOOL]).status == 200


def test_a_form_is_followed(server: Server) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    config = {"format": {"type": "json_schema", "schema": schema}}
    answer = ask(server, model="nano-ar", output_config=config, max_tokens=60)
    assert isinstance(json.loads(answer.json["content"][0]["text"])["age"], int)


def test_an_answer_may_be_begun(server: Server) -> None:
    turns = [{"role": "user", "content": "What is 12+35?"}, {"role": "assistant", "content": "2+5=7, 1+3=4, so"}]
    assert ask(server, model="nano-ar", messages=turns).json["content"][0]["text"] == " 12+35=47."


def test_what_is_counted_is_what_is_read(server: Server) -> None:
    n = server.client.post("/v1/messages/count_tokens", {"model": "fake", "messages": HELLO}).json
    assert n == {"input_tokens": ask(server).json["usage"]["input_tokens"]}
    system = {"model": "fake", "messages": HELLO, "system": [{"type": "text", "text": "Be brief."}]}
    more = server.client.post("/v1/messages/count_tokens", system).json
    assert more["input_tokens"] >= n["input_tokens"] + len("Be brief.")


NESTED: dict[str, Any] = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
for _ in range(300):
    NESTED = {"type": "tool_result", "tool_use_id": "a", "content": [NESTED]}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


@pytest.mark.parametrize(
    ("more", "param"),
    [({"max_tokens": None}, "max_tokens"), ({"max_tokens": 0}, "max_tokens"), ({"messages": []}, "messages"),
     ({"messages": "x"}, "messages"),
     ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
     ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
     ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
      "messages[0].content"),
     ({"messages": [{"role": "user", "content": [NESTED]}]}, "messages[0].content[0].content"),
     ({"model": "nano-ar", "tool_choice": {"type": []}}, "tool_choice.type"),
     ({"model": "nano-ar", "tool_choice": {}}, "tool_choice.type"),
     ({"system": 5}, "system"), ({"stop_sequences": [""]}, "stop_sequences"),
     ({"model": "nano-ar", "tools": [{"type": "web_search_20250305", "name": "x"}]}, "tools[0].type"),
     ({"model": "nano-ar", "tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
     ({"model": "nano-ar", "tools": [{**TOOL, "name": "a b"}]}, "tools[0].name"),
     ({"model": "nano-ar", "tools": [{**TOOL, "input_schema": 5}]}, "tools[0].input_schema"),
     ({"output_config": {"format": {"type": "json_schema", "schema": {"pattern": "a+"}}}}, "output_config.schema"),
     ({"model": "nano-ar", "tool_choice": {"type": "all"}}, "tool_choice.type"), ({"temprature": 1}, "temprature")],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_wrong_is_named(server: Server, more: dict[str, Any], param: str) -> None:
    answer = ask(server, **more)
    assert answer.status == 400, answer.body[:300]
    assert answer.json["type"] == "error"
    assert (answer.json["error"]["type"], answer.json["error"]["param"]) == ("invalid_request_error", param)


def test_errors_have_their_own_names(new_server: NewServer) -> None:
    client = new_server(HOSHIKAGE_API_KEYS="user").client
    assert client.post("/v1/messages", WISH).json["error"]["type"] == "authentication_error"
    key = {"x-api-key": "user", "anthropic-version": "2023-06-01"}
    missing = client.post("/v1/messages", {**WISH, "model": "nobody"}, **key)
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
    broken = client.post("/v1/messages", {**WISH, "model": "broken", "stream": True}, **key)
    assert (broken.status, broken.json["error"]["type"]) == (500, "api_error")
    assert client.post("/v1/messages", WISH, **key).status == 200


def test_what_is_too_long_is_told_in_words_that_clients_look_for(server: Server) -> None:
    for stream in (False, True):
        error = ask(server, messages=[{"role": "user", "content": "x" * 1000}], stream=stream).json["error"]
        assert error["type"] == "invalid_request_error" and error["code"] == "context_length_exceeded"
        assert error["message"].startswith(f"prompt is too long: {error['n_prompt_tokens']} tokens > 512 maximum; ")


def test_what_has_no_effect_is_warned_of(server: Server) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = ask(server, thinking=thinking, metadata={"user_id": "me"})
    assert answer.status == 200 and "thinking" in answer.json["warning"] and "metadata" in answer.json["warning"]
    auto = {"type": "auto", "disable_parallel_tool_use": True}
    answer = ask(server, model="nano-ar", output_config={"effort": "low"}, tools=[TOOL], tool_choice=auto)
    assert answer.status == 200, answer.body
    for name in ("output_config.effort", "tool_choice.disable_parallel_tool_use"):
        assert name in answer.json["warning"]
