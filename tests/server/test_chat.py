"""Chats with a server over a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.client import CHAT, until
from tests.server.conftest import NewServer, Server


def content_of(events: list[Any], index: int = 0) -> str:
    """What a client puts together that only concatenates."""
    choices = [choice for event in events[:-1] for choice in event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices if choice["index"] == index)


def test_a_plain_answer_has_the_shape_that_clients_know(server: Server) -> None:
    answer = server.client.chat(max_tokens=24, seed=7)
    assert answer.status == 200, answer.body
    said = answer.json
    assert said["object"] == "chat.completion" and said["model"] == "fake" and said["id"].startswith("chatcmpl-")
    (choice,) = said["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] in ("stop", "length")
    assert choice["message"]["role"] == "assistant" and isinstance(choice["message"]["content"], str)
    usage = said["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert choice["hoshikage"]["seed"] == 7 and choice["hoshikage"]["passes"] > 0


def test_a_stream_put_together_is_the_plain_answer(server: Server) -> None:
    plain = server.client.chat(max_tokens=48, seed=3).json
    events = server.client.chat(max_tokens=48, seed=3, stream=True, stream_options={"include_usage": True}).events
    assert events[-1] == "[DONE]"
    assert content_of(events) == plain["choices"][0]["message"]["content"]
    first, last, usage = events[0], events[-3], events[-2]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["finish_reason"] == plain["choices"][0]["finish_reason"]
    assert last["choices"][0]["delta"] == {}
    assert usage["choices"] == [] and usage["usage"] == plain["usage"]
    assert len({(event["id"], event["created"], event["model"]) for event in events[:-1]}) == 1
    assert all(event["usage"] is None for event in events[:-2])


def test_no_event_is_empty_and_an_emoji_is_never_cut(server: Server) -> None:
    """The fake model writes bytes at random, many of them parts of characters."""
    answer = server.client.chat(max_tokens=300, seed=11, temperature=1, stream=True, early_stop=False)
    plain = server.client.chat(max_tokens=300, seed=11, temperature=1, early_stop=False)
    assert content_of(answer.events) == plain.json["choices"][0]["message"]["content"]
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["transfer-encoding"] == "chunked"


def test_several_answers_have_seeds_that_follow_each_other(server: Server) -> None:
    wish: dict[str, Any] = {"max_tokens": 40, "temperature": 1, "seed": 21}
    plain = server.client.chat(n=3, **wish).json
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2]
    assert [choice["hoshikage"]["seed"] for choice in plain["choices"]] == [21, 22, 23]
    one = server.client.chat(**{**wish, "seed": 22}).json
    assert plain["choices"][1]["message"] == one["choices"][0]["message"]
    assert plain["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    events = server.client.chat(n=3, stream=True, **wish).events
    for i in range(3):
        assert content_of(events, i) == plain["choices"][i]["message"]["content"]
    assert events[-1] == "[DONE]"


def test_a_stop_string_cuts_the_answer_streamed_or_not(server: Server) -> None:
    wish: dict[str, Any] = {"max_tokens": 60, "temperature": 1, "seed": 2, "early_stop": False}
    text = server.client.chat(**wish).json["choices"][0]["message"]["content"]
    stop = next(text[i : i + 2] for i in range(3, len(text) - 2) if "\ufffd" not in text[i : i + 2])
    plain = server.client.chat(stop=[stop], **wish).json["choices"][0]
    assert plain["message"]["content"] == text[: text.index(stop)]
    assert plain["finish_reason"] == "stop"
    events = server.client.chat(stop=stop, stream=True, **wish).events
    assert content_of(events) == text[: text.index(stop)]


def test_no_probability_is_told_of_a_stop_string(server: Server) -> None:
    wish: dict[str, Any] = {"max_tokens": 60, "temperature": 1, "seed": 2, "early_stop": False, "logprobs": True}
    text = server.client.chat(**wish).json["choices"][0]["message"]["content"]
    stop = next(text[i : i + 2] for i in range(3, len(text) - 2) if text[i : i + 2].isascii())
    plain = server.client.chat(stop=[stop], **wish).json["choices"][0]
    rows = plain["logprobs"]["content"]
    assert b"".join(bytes(row["bytes"]) for row in rows).decode(errors="replace") == plain["message"]["content"]
    events = server.client.chat(stop=[stop], stream=True, **wish).events
    told = [choice["logprobs"] for event in events[:-1] for choice in event["choices"] if choice["logprobs"]]
    assert [row for part in told for row in part["content"]] == rows


def test_a_refusal_that_is_sent_back_is_text(server: Server) -> None:
    def n_read(part: dict[str, str]) -> int:
        turns = [{"role": "assistant", "content": [part]}, {"role": "user", "content": "hello"}]
        answer = server.client.post(CHAT, {"model": "fake", "messages": turns, "max_tokens": 2})
        assert answer.status == 200, answer.body
        return int(answer.json["usage"]["prompt_tokens"])

    assert n_read({"type": "refusal", "refusal": "I will not."}) == n_read({"type": "text", "text": "I will not."})


def test_tools_that_a_template_does_not_tell_of_are_warned_of(server: Server) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for path, more in ((CHAT, {}), ("/v1/responses", {}), ("/v1/messages", {"max_tokens": 4})):
        body: dict[str, Any] = {"model": "nano-ar", "messages": [{"role": "user", "content": "hello"}], **more}
        sent: Any = tools
        if path == "/v1/responses":
            body, sent = {"model": "nano-ar", "input": "hello"}, [{"type": "function", "name": "f"}]
        if path == "/v1/messages":
            sent = [{"name": "f", "input_schema": {}}]
        answer = server.client.post(path, {**body, "tools": sent})
        assert answer.status == 200 and "tools has no effect" in answer.json["warning"], answer.body
        assert "warning" not in server.client.post(path, body).json


def test_the_moving_canvas_is_shown_to_those_who_ask(server: Server) -> None:
    wish: dict[str, Any] = {"max_tokens": 32, "temperature": 1, "seed": 4, "stream": True, "early_stop": False}
    quiet, moving = (server.client.chat(diffusing=diffusing, **wish).events for diffusing in (False, True))
    assert content_of(quiet) == content_of(moving)
    assert not any("diffusion" in choice for event in quiet[:-1] for choice in event["choices"])
    frames = [choice["diffusion"] for event in moving[:-1] for choice in event["choices"] if "diffusion" in choice]
    assert frames
    for frame in frames:
        assert len(frame["canvas"]) == 32 and 0 <= frame["step"] <= frame["steps"]
        assert frame["masked"] == [i for i, cell in enumerate(frame["canvas"]) if cell is None]
        assert len(frame["confidence"]) in (0, 32)
    n_masked = [len(frame["masked"]) for frame in frames]
    assert n_masked == sorted(n_masked, reverse=True)


def test_the_probability_of_tokens_at_their_step(server: Server) -> None:
    wish: dict[str, Any] = {"max_tokens": 16, "temperature": 1, "seed": 4, "logprobs": True, "top_logprobs": 3}
    plain = server.client.chat(**wish).json
    content = plain["choices"][0]["logprobs"]["content"]
    assert len(content) == plain["usage"]["completion_tokens"]
    for token in content:
        assert token["logprob"] <= 0 and bytes(token["bytes"]) is not None
        assert len(token["top_logprobs"]) <= 3
    events = server.client.chat(stream=True, **wish).events
    streamed = [
        token
        for event in events[:-1]
        for choice in event["choices"]
        for token in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert streamed == content


def test_one_chunk_for_those_who_want_the_seeds_way(new_server: NewServer) -> None:
    server = new_server(DIFFUSION_STREAM="single")
    wish: dict[str, Any] = {"max_tokens": 24, "seed": 3}
    plain = server.client.chat(**wish).json["choices"][0]
    events = server.client.chat(stream=True, **wish).events
    assert len(events) == 2 and events[1] == "[DONE]"
    (choice,) = events[0]["choices"]
    assert choice["delta"]["content"] == plain["message"]["content"]
    assert choice["finish_reason"] == plain["finish_reason"]
    assert len(server.client.chat(stream=True, diffusing=True, **wish).events) > 2


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada", "nano-dream", "nano-block"])
def test_an_answer_goes_on_with_what_is_there(server: Server, model: str) -> None:
    turns = [{"role": "user", "content": "What is 12+35?"}, {"role": "assistant", "content": "2+5=7, 1+3=4, so"}]
    wish = {"model": model, "messages": turns}
    answer = server.client.post(CHAT, wish).json
    assert answer["choices"][0]["message"]["content"] == " 12+35=47."
    anew = server.client.post(CHAT, {**wish, "continue_final_message": False}).json
    assert anew["usage"]["prompt_tokens"] > answer["usage"]["prompt_tokens"]
    told = server.client.post(CHAT, {**wish, "add_generation_prompt": True}).json["usage"]
    assert tokens_of(told) == tokens_of(anew["usage"])
    both = server.client.post(CHAT, {**wish, "continue_final_message": True, "add_generation_prompt": False}).json
    assert tokens_of(both["usage"]) == tokens_of(answer["usage"]) and "warning" not in both  # as Open WebUI asks for it
    wrong = server.client.post(CHAT, {**wish, "messages": turns[:1], "continue_final_message": True})
    assert (wrong.status, wrong.error["param"]) == (400, "continue_final_message")


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada", "nano-dream", "nano-block"])
def test_a_call_that_is_demanded_is_made(server: Server, model: str) -> None:
    tools = [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {
                    "type": "object",
                    "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 7}},
                    "required": ["days"],
                },
            },
        }
    ]
    wish: dict[str, Any] = {"model": model, "max_tokens": 80, "seed": 1}
    said = server.client.chat("Weather?", tools=tools, tool_choice="required", **wish).json["choices"][0]
    assert said["finish_reason"] == "tool_calls" and said["message"]["content"] is None
    (call,) = said["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert 1 <= json.loads(call["function"]["arguments"])["days"] <= 7
    events = server.client.chat("Weather?", tools=tools, tool_choice="required", stream=True, **wish).events
    (delta,) = [
        choice["delta"] for event in events[:-1] for choice in event["choices"] if "tool_calls" in choice["delta"]
    ]
    assert delta["tool_calls"][0]["function"] == call["function"]
    assert content_of(events) == ""


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada", "nano-dream", "nano-block"])
def test_a_schema_is_kept_to(server: Server, model: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = server.client.chat("Who?", model=model, max_tokens=100, response_format=form)
    assert answer.status == 200, answer.body
    person = json.loads(answer.json["choices"][0]["message"]["content"])
    assert person.keys() == {"name", "age"} and 0 <= person["age"] <= 99
    circle = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}
    refused = server.client.chat("Who?", model=model, response_format=circle)
    assert refused.status == 400 and refused.error["param"].startswith("response_format")
    wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "a+"}}}
    refused = server.client.chat("Who?", model=model, response_format=wrong)
    assert refused.status == 400 and "pattern" in refused.error["message"]


def test_a_line_is_kept_alive_while_nothing_can_be_said(new_server: NewServer) -> None:
    """Then a failure is an event, and the stream does not end with [DONE]; before, it is a status."""
    server = new_server(HOSHIKAGE_BATCH="1", TEST_QUIET_SECONDS="0.2")
    wish: dict[str, Any] = {"model": "fake-slow", "max_tokens": 1500, "early_stop": False, "temperature": 1}
    with server.client.begin({**wish, "messages": [{"role": "user", "content": "x"}]}):
        until(lambda: server.client.model("fake-slow")["n_active"] == 1, "the first is at work")
        late = server.client.chat(queue_timeout=1, stream=True, **wish)
        assert late.status == 200 and b"\n\n: " in late.body
        assert late.events[-1]["error"]["code"] == "processing_timeout"
        soon = server.client.chat(queue_timeout=0.05, stream=True, **wish)
        assert (soon.status, soon.error["code"]) == (503, "processing_timeout")
        assert soon.headers["retry-after"]


def test_keep_alive_and_time_limits_reach_the_manager(server: Server) -> None:
    assert server.client.chat(max_tokens=2, keep_alive="30m").status == 200
    until(lambda: (server.client.model("fake")["unloads_in"] or 0) > 1700, "it stays for half an hour")
    assert server.client.chat(max_tokens=2, keep_alive=-1).status == 200
    until(lambda: server.client.model("fake")["unloads_in"] is None, "it stays for good")
    assert server.client.chat(max_tokens=2, keep_alive=300).status == 200
    slow = server.client.chat(model="fake-slow", max_tokens=1500, early_stop=False, temperature=1, timeout=0.3)
    assert (slow.status, slow.error["code"], slow.headers["x-should-retry"]) == (504, "processing_timeout", "false")


def tokens_of(usage: dict[str, Any]) -> dict[str, Any]:
    """Without the work, which is less where a prompt is cached."""
    return {name: n for name, n in usage.items() if name != "hoshikage"}
