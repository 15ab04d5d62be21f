"""OpenAI's Responses without a memory: items, events in their order, and what would need a memory refused."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from hoshikage.server.responses.values import Items
from tests.server.client import Answer
from tests.server.conftest import NewServer, Server

WISH: dict[str, Any] = {"model": "fake", "input": "hello", "max_output_tokens": 40, "seed": 3, "temperature": 1}
PLACES = ["Kyoto", "Oslo"]  # no tool call of a toy model ends of itself where any text may follow
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"place": {"enum": PLACES}}, "required": ["place"]},
}


def ask(server: Server, **more: Any) -> Answer:
    return server.client.post("/v1/responses", {**WISH, **more})


def events(answer: Answer) -> list[dict[str, Any]]:
    *blocks, last = answer.body.decode().strip().split("\n\n")
    assert last == "data: [DONE]"
    found = [json.loads(block.split("\n")[1].removeprefix("data: ")) for block in blocks if not block.startswith(":")]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


@pytest.mark.parametrize("model", ["fake", "nano-ar"])
def test_streamed_and_plain_are_one(server: Server, model: str) -> None:
    plain = ask(server, model=model).json
    assert plain["object"] == "response" and plain["store"] is False
    got = events(ask(server, model=model, stream=True))
    types = [event["type"].removeprefix("response.") for event in got]
    assert types[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert types[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
    assert types[-1] == plain["status"]
    deltas = [event["delta"] for event in got if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_of(plain) == text_of(got[-1]["response"])
    assert got[-1]["response"]["usage"] == plain["usage"]


def test_the_text_is_that_of_the_other_door(server: Server) -> None:
    theirs = server.client.chat("hello", max_tokens=40, seed=3, temperature=1).json["choices"][0]["message"]["content"]
    parts = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    assert text_of(ask(server).json) == text_of(ask(server, input=parts).json) == theirs
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert text_of(ask(server, instructions="Be brief.").json) == text_of(ask(server, input=told).json)


def test_an_answer_that_is_cut_is_incomplete(server: Server) -> None:
    answer = ask(server, model="nano-ar", max_output_tokens=1).json
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert ask(server, model="nano-ar", input="12+35=").json["status"] == "completed"


def test_a_function_is_called(server: Server) -> None:
    wish = {"model": "nano-ar", "tools": [TOOL], "tool_choice": "required", "max_output_tokens": 100, "temperature": 0}
    (call,) = ask(server, **wish).json["output"]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert json.loads(call["arguments"])["place"] in PLACES
    got = events(ask(server, **wish, stream=True))
    (told,) = [event for event in got if event["type"] == "response.function_call_arguments.done"]
    assert told["arguments"] == call["arguments"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    turns = [{"role": "user", "content": "hello"}, call, result]
    assert ask(server, model="nano-ar", tools=[TOOL], input=turns).status == 200


def test_what_one_turn_says_and_calls_is_one_message() -> None:
    calls = [{"type": "function_call", "call_id": name, "name": name, "arguments": "{}"} for name in "abc"]
    spoke = {"role": "assistant", "content": "Let me look."}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    result = {"type": "function_call_output", "call_id": "c", "output": "sunny"}
    turns = [{"role": "user", "content": "hello"}, spoke, *calls[:2], thought, calls[2], result, spoke]
    told = Items(most=9).check("input", turns)
    assert [message["role"] for message in told] == ["user", "assistant", "assistant", "tool", "assistant"]
    assert [[call["id"] for call in message.get("tool_calls", ())] for message in told[1:3]] == [["a", "b"], ["c"]]
    assert [message["content"] for message in told] == ["hello", "Let me look.", "", "sunny", "Let me look."]
    assert told[2]["reasoning_content"] == "Hm." and "tool_calls" not in told[4]


def test_a_form_is_followed(server: Server) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    form = {"format": {"type": "json_schema", "name": "person", "schema": schema}}
    answer = ask(server, model="nano-ar", text=form, max_output_tokens=60).json
    assert isinstance(json.loads(text_of(answer))["age"], int)


def test_the_openai_package_reads_it(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
    plain = client.responses.create(model="nano-ar", input="12+35=", max_output_tokens=40)
    assert plain.output_text and plain.usage is not None and plain.usage.total_tokens > 0
    with client.responses.stream(model="nano-ar", input="12+35=", max_output_tokens=40) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == plain.output_text == stream.get_final_response().output_text


@pytest.mark.parametrize(
    ("more", "param"),
    [({"input": None}, "input"), ({"input": []}, "input"), ({"input": 5}, "input"), ({"input": [5]}, "input[0]"),
     ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
     ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
     ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
     ({"previous_response_id": "resp_1"}, "previous_response_id"), ({"background": True}, "background"),
     ({"conversation": "conv_1"}, "conversation"), ({"max_output_tokens": 0}, "max_output_tokens"),
     ({"model": "nano-ar", "tools": [{"type": "functions"}]}, "tools[0].type"),
     ({"model": "nano-ar", "tools": [{}]}, "tools[0].type"), ({"model": "nano-ar", "tools": ["x"]}, "tools[0]"),
     ({"model": "nano-ar", "tools": [{**TOOL, "name": "a b"}]}, "tools[0].name"),
     ({"text": {"format": {"type": "xml"}}}, "text.format.type"), ({"instruction": "x"}, "instruction")],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_wrong_is_named(server: Server, more: dict[str, Any], param: str) -> None:
    answer = ask(server, **more)
    assert (answer.status, answer.error["param"]) == (400, param), answer.body[:300]


def test_what_has_no_effect_is_warned_of(server: Server) -> None:
    answer = ask(server, text={"verbosity": "low"}, reasoning={"effort": "low"}).json
    assert "text.verbosity" in answer["warning"] and "reasoning" in answer["warning"]


def test_tools_that_are_no_functions_are_passed_over(server: Server) -> None:
    group = {"type": "namespace", "name": "people", "tools": [TOOL]}
    answer = ask(server, model="nano-ar", tools=[TOOL, {"type": "web_search"}, group, {"type": "web_search"}])
    assert answer.status == 200, answer.body
    assert "['web_search']" in answer.json["warning"]
    assert [tool["name"] for tool in answer.json["tools"]] == ["get_weather", "people__get_weather"]
    named = ask(server, model="nano-ar", tools=[group], tool_choice={"type": "function", "name": "get_weather"})
    assert (named.status, named.error["param"]) == (400, "tool_choice")


def test_a_quiet_stream_has_events_that_say_it_lives(new_server: NewServer) -> None:
    wish = {"model": "fake-slow", "input": "hello", "max_output_tokens": 8, "stream": True}
    got = events(new_server(TEST_QUIET_SECONDS="0.001").client.post("/v1/responses", wish))
    types = [event["type"] for event in got]
    assert types[0] == "response.created" and types[-1].startswith("response.") and "keepalive" in types
