"""Thoughts of models, at every door that chats: told apart, streamed or not, and handed back to the chat template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import TinyModel
from tests.server import test_anthropic, test_responses
from tests.server.client import CHAT
from tests.server.conftest import Server

TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
ANSWER = "<think>\nwhy\n</think>\n\nso"
HELLO = [{"role": "user", "content": "hello"}]
PAST = [*HELLO, {"role": "assistant", "content": "yes", "reasoning_content": "why"}, *HELLO]
# As Qwen3's, in short; that it opens the thought itself is DeepSeek-R1's way.
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}({{ m.reasoning_content }}) {% endif %}"
    "{{ m.content }}<|eot_id|>{% endfor %}{% if reasoning_effort %}{{ reasoning_effort }}: {% endif %}"
    "{% if add_generation_prompt %}{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}{# tools #}"
)


def says(text: str) -> str:
    """A grammar of this text alone."""
    written = text.replace('"', '\\"').replace("\n", "\\n")
    return f'root ::= "{written}"'


@pytest.fixture(scope="module")
def opener(server: Server, tiny_model: TinyModel) -> Iterator[str]:
    """A model whose prompt ends inside a thought."""
    path = tiny_model("llama", chat_template=TEMPLATE)
    assert server.client.post("/admin/models", {"name": "opener", "path": str(path)}).status == 201
    yield "opener"
    server.client.ask("DELETE", "/admin/models/opener")


def chat(server: Server, text: str, model: str = "nano-ar", **more: Any) -> dict[str, Any]:
    """The message of an answer, which is the same as what a stream of it tells."""
    wish = {"model": model, "grammar": says(text), "max_tokens": 200, **more}
    message: dict[str, Any] = server.client.chat(**wish).json["choices"][0]["message"]
    events = server.client.chat(**wish, stream=True).events
    deltas = [choice["delta"] for event in events[:-1] for choice in event["choices"]]
    for name in ("reasoning_content", "content"):
        assert "".join(delta.get(name) or "" for delta in deltas) == (message.get(name) or "")
    last_thought = max((i for i, delta in enumerate(deltas) if "reasoning_content" in delta), default=0)
    assert not any(delta.get("content") for delta in deltas[: last_thought + 1])
    return message


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada", "nano-block"])
def test_a_thought_stands_beside_the_answer(server: Server, model: str) -> None:
    message = chat(server, ANSWER, model)
    assert (message["reasoning_content"], message["content"]) == ("why", "so")
    plain = chat(server, "so <think>", model)
    assert plain["content"] == "so <think>" and "reasoning_content" not in plain


def test_it_stays_in_the_text_where_that_is_wanted(server: Server, opener: str) -> None:
    for model in ("nano-ar", opener):
        message = chat(server, ANSWER, model, reasoning_format="none")
        assert message["content"] == ANSWER and "reasoning_content" not in message
    assert chat(server, ANSWER, reasoning_format="deepseek") == chat(server, ANSWER, reasoning_format="auto")
    wrong = server.client.chat(reasoning_format="deepsick")
    assert (wrong.status, wrong.error["param"]) == (400, "reasoning_format") and "'deepseek'" in wrong.error["message"]


def test_a_call_is_none_in_a_thought(server: Server) -> None:
    message = chat(server, f"<think>{CALL}</think>{CALL}", tools=[TOOL])
    assert message["reasoning_content"] == CALL and message["content"] is None and len(message["tool_calls"]) == 1
    assert "tool_calls" not in chat(server, f"<think>{CALL}", tools=[TOOL])


def test_a_template_may_open_the_thought(server: Server, opener: str) -> None:
    message = chat(server, "why\n</think>\n\nso", opener)
    assert (message["reasoning_content"], message["content"]) == ("why", "so")
    assert chat(server, "why", opener) == {**message, "reasoning_content": "why", "content": ""}
    closed = chat(server, "so", opener, chat_template_kwargs={"enable_thinking": False})
    assert closed["content"] == "so" and "reasoning_content" not in closed
    form = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 12}}}}
    bound = server.client.chat(model=opener, **form).json["choices"][0]["message"]
    assert bound["content"] == "12" and "reasoning_content" not in bound
    called = server.client.chat(model=opener, tools=[TOOL], tool_choice="required").json["choices"][0]["message"]
    assert called["tool_calls"] and "reasoning_content" not in called


def test_an_answer_that_has_a_form_may_be_a_call_first(server: Server, opener: str) -> None:
    form = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 12}}}}
    for seed in range(4):
        wish = {"model": opener, "tools": [TOOL], "seed": seed, "temperature": 2, "max_tokens": 200, **form}
        choice = server.client.chat(**wish).json["choices"][0]
        calls = choice["message"].get("tool_calls", [])
        assert (choice["message"]["content"], len(calls)) in (("12", 0), (None, 1)), choice


def test_a_begun_thought_goes_on(server: Server) -> None:
    for begun in ("<think>", "<think>\nBecause"):
        turns = [*HELLO, {"role": "assistant", "content": begun}]
        message = chat(server, "why</think>so", messages=turns)
        assert (message["reasoning_content"], message["content"]) == ("why", "so")


# -- gpt-oss

CHANNELS = (
    "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
    "<|start|>assistant<|channel|>analysis<|message|>how<|end|>"
)
SO = "<|start|>assistant<|channel|>final<|message|>so"
TO_F = "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}"


@pytest.fixture(scope="module")
def channels(server: Server, tiny_model: TinyModel) -> Iterator[str]:
    """A model that answers in channels, and is told of tools and thoughts."""
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.thinking }} {{ m.content }}{% endfor %}{# <|channel|> tools #}"
    )
    path = tiny_model("llama", chat_template=template)
    assert server.client.post("/admin/models", {"name": "channels", "path": str(path)}).status == 201
    yield "channels"
    server.client.ask("DELETE", "/admin/models/channels")


def test_channels_are_told_apart(server: Server, channels: str) -> None:
    wish = {"model": channels, "tools": [TOOL], "max_tokens": 400}
    message = server.client.chat(**wish, grammar=says(CHANNELS + SO)).json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("why\nhow", "I look.\nso")
    for more in ({}, {"reasoning_format": "none"}):
        answer = server.client.chat(**wish, **more, grammar=says(CHANNELS + TO_F)).json["choices"][0]["message"]
        assert [call["function"] for call in answer["tool_calls"]] == [{"name": "f", "arguments": "{}"}]
        assert ("reasoning_content" in answer) is not bool(more)
    past = server.client.post("/apply-template", {"model": channels, "messages": PAST}).json["prompt"]
    assert "assistant: why yes" in past


@pytest.mark.parametrize("end", [SO, TO_F])
def test_what_follows_each_other_are_items_of_their_own(server: Server, channels: str, end: str) -> None:
    """At the doors whose answers have an order, a stream tells what the answer in one piece does."""
    tool = {"type": "function", **TOOL["function"]}
    wish = {"model": channels, "grammar": says(CHANNELS + end), "max_output_tokens": 400, "tools": [tool]}
    output = test_responses.ask(server, **wish).json["output"]
    assert [item["type"] for item in output][:3] == ["reasoning", "message", "reasoning"]
    assert len({item["id"] for item in output}) == len(output) == 4
    got = test_responses.events(test_responses.ask(server, **wish, stream=True))
    done = [event["item"] for event in got if event["type"] == "response.output_item.done"]
    assert done == got[-1]["response"]["output"]
    assert [item.get("content") for item in done] == [item.get("content") for item in output]
    use = {"name": "f", "input_schema": {"type": "object"}}
    asked = {"model": channels, "grammar": says(CHANNELS + end), "max_tokens": 400, "tools": [use],
             "thinking": {"type": "adaptive"}}  # fmt: skip
    blocks = test_anthropic.ask(server, **asked).json["content"]
    kinds = ["thinking", "text", "thinking", "text" if end == SO else "tool_use"]
    assert [block["type"] for block in blocks] == kinds
    events = test_anthropic.events(test_anthropic.ask(server, **asked, stream=True))
    started = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert started == kinds


def test_raw_routes_tell_all_of_it(server: Server) -> None:
    wish = {"model": "nano-ar", "prompt": "hello", "grammar": says(ANSWER), "max_tokens": 200}
    assert server.client.post("/v1/completions", wish).json["choices"][0]["text"] == ANSWER
    assert server.client.post("/completion", wish).json["content"] == ANSWER


def test_probabilities_are_those_of_all_tokens(server: Server) -> None:
    wish = {"model": "nano-ar", "grammar": says(ANSWER), "max_tokens": 200, "logprobs": True}
    rows = server.client.chat(**wish).json["choices"][0]["logprobs"]["content"]
    assert b"".join(bytes(row["bytes"]) for row in rows).decode() == ANSWER
    events = server.client.chat(**wish, stream=True).events[:-1]
    told = [choice["logprobs"] for event in events for choice in event["choices"] if choice["logprobs"]]
    assert [row["bytes"] for part in told for row in part["content"]] == [row["bytes"] for row in rows]


def test_a_template_reads_how_long_to_think(server: Server, opener: str) -> None:
    assert chat(server, "so", opener, reasoning_effort="none")["content"] == "so"
    for effort, text in (("none", "none: <think>\n\n</think>\n\n"), ("low", "low: <think>\n")):
        answer = server.client.chat(model=opener, max_tokens=1, reasoning_effort=effort).json
        prompt = server.client.post("/tokenize", {"model": opener, "content": text}).json["count"]
        plain = server.client.post("/apply-template", {"model": opener, "messages": HELLO}).json["prompt"]
        before = server.client.post("/tokenize", {"model": opener, "content": plain.removesuffix("<think>\n")}).json
        assert answer["usage"]["prompt_tokens"] == before["count"] + prompt and "warning" not in answer
        same = test_responses.ask(server, model=opener, input=HELLO, max_output_tokens=1, reasoning={"effort": effort})
        assert same.json["usage"]["input_tokens"] == before["count"] + prompt
        assert same.json["reasoning"]["effort"] == effort and "warning" not in same.json
    deaf = server.client.chat(model="nano-ar", max_tokens=1, reasoning_effort="low").json
    assert "reasoning_effort has no effect" in deaf["warning"]


def test_earlier_thoughts_reach_the_template(server: Server, opener: str) -> None:
    told = server.client.post("/apply-template", {"model": opener, "messages": PAST}).json["prompt"]
    assert "assistant: (why) yes" in told
    n = server.client.post(CHAT, {"model": opener, "messages": PAST, "max_tokens": 1}).json["usage"]["prompt_tokens"]
    blocks = [{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": "why", "signature": ""}]
    turn = {"role": "assistant", "content": [*blocks, {"type": "text", "text": "yes"}]}
    wish: dict[str, Any] = {"model": opener, "messages": [*HELLO, turn, *HELLO]}
    assert server.client.post("/v1/messages/count_tokens", wish).json == {"input_tokens": n}
    yes = {"role": "assistant", "content": "yes"}
    for item in ({"content": [{"type": "reasoning_text", "text": "why"}], "summary": []},
                 {"summary": [{"type": "summary_text", "text": "why"}], "encrypted_content": "x"}):  # fmt: skip
        turns = [*HELLO, {"type": "reasoning", "id": "rs_1", **item}, yes, *HELLO, {"type": "reasoning", "summary": []}]
        answer = server.client.post("/v1/responses", {"model": opener, "input": turns, "max_output_tokens": 1}).json
        assert answer["usage"]["input_tokens"] == n and "warning" not in answer
    alone = {"model": opener, "input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}]}
    assert server.client.post("/v1/responses", alone).error["param"] == "input"


# -- Anthropic's door


def messages(server: Server, text: str, **more: Any) -> list[dict[str, Any]]:
    """The blocks of an answer, which are the same as what a stream of it tells."""
    wish = {"model": "nano-ar", "grammar": says(text), "max_tokens": 200, **more}
    plain = list(map(without_id, test_anthropic.ask(server, **wish).json["content"]))
    assert together(test_anthropic.events(test_anthropic.ask(server, **wish, stream=True))) == plain
    return plain


def without_id(block: dict[str, Any]) -> dict[str, Any]:
    """A use of a tool gets a new one in each answer."""
    return {name: value for name, value in block.items() if name != "id"}


def together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks of a stream, as Anthropic's package puts them together."""
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(without_id(event["content_block"]))
        elif event["type"] == "content_block_delta":
            name = event["delta"]["type"].removesuffix("_delta")
            if name != "input_json":
                blocks[-1][name] += event["delta"][name]
        elif event["type"] == "content_block_stop":
            assert event["index"] == len(blocks) - 1
    return blocks


@pytest.mark.parametrize("thinking", [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}])
def test_who_asks_for_thinking_gets_it(server: Server, thinking: dict[str, Any]) -> None:
    thought, text = messages(server, ANSWER, thinking=thinking)
    assert thought == {"type": "thinking", "thinking": "why", "signature": ""}
    assert (text["type"], text["text"]) == ("text", "so")
    (alone,) = messages(server, "<think>why", thinking=thinking)
    assert alone == thought
    tool = {"name": "f", "input_schema": {"type": "object"}}
    assert [block["type"] for block in messages(server, f"<think>why</think>{CALL}", thinking=thinking, tools=[tool],
                                                tool_choice={"type": "auto"})] == ["thinking", "tool_use"]  # fmt: skip


@pytest.mark.parametrize(
    "more", [{}, {"thinking": {"type": "disabled"}}, {"thinking": {"type": "adaptive", "display": "omitted"}}]
)
def test_who_does_not_gets_the_answer_alone(server: Server, more: dict[str, Any]) -> None:
    (block,) = messages(server, ANSWER, **more)
    assert (block["type"], block["text"]) == ("text", "so")
    assert "warning" not in test_anthropic.ask(server, **more).json


def test_a_template_is_told_of_no_thinking(server: Server, opener: str) -> None:
    (block,) = messages(server, "so", model=opener, thinking={"type": "disabled"})
    assert block["text"] == "so"
    wrong = test_anthropic.ask(server, thinking={"type": "enable"})
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "thinking.type")


# -- Responses


def test_a_response_has_an_item_of_it(server: Server) -> None:
    wish = {"model": "nano-ar", "grammar": says(ANSWER), "max_output_tokens": 100}
    plain = test_responses.ask(server, **wish).json
    thought, message = plain["output"]
    assert (thought["type"], thought["summary"]) == ("reasoning", [])
    assert thought["content"] == [{"type": "reasoning_text", "text": "why"}]
    assert (message["type"], message["content"][0]["text"]) == ("message", "so")
    got = test_responses.events(test_responses.ask(server, **wish, stream=True))
    types = list(dict.fromkeys(event["type"].removeprefix("response.") for event in got))
    assert types == [
        "created", "in_progress", "output_item.added", "content_part.added",
        "reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done",
        "output_text.delta", "output_text.done", "completed",
    ]  # fmt: skip
    at = {event["type"].split(".")[1]: event["output_index"] for event in got if "_text." in event["type"]}
    assert at == {"reasoning_text": 0, "output_text": 1}
    output = got[-1]["response"]["output"]
    assert [event["item"] for event in got if event["type"] == "response.output_item.done"] == output
    assert [item["content"] for item in output] == [thought["content"], message["content"]]
    (alone,) = test_responses.ask(server, **{**wish, "grammar": says("<think>why")}).json["output"]
    assert alone["type"] == "reasoning"


def test_the_openai_package_reads_thoughts(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
    extra = {"extra_body": {"grammar": says(ANSWER)}}
    plain = client.responses.create(model="nano-ar", input="hello", max_output_tokens=100, **extra)
    thought = plain.output[0]
    assert thought.type == "reasoning" and thought.content is not None and thought.content[0].text == "why"
    assert plain.output_text == "so"
    with client.responses.stream(model="nano-ar", input="hello", max_output_tokens=100, **extra) as stream:
        deltas = [event.delta for event in stream if event.type == "response.reasoning_text.delta"]
        assert "".join(deltas) == "why" and stream.get_final_response().output_text == "so"
    again = [*HELLO, *(item.to_dict() for item in plain.output), *HELLO]
    assert client.responses.create(model="nano-ar", input=again, max_output_tokens=4).output  # type: ignore[arg-type]
    answer = client.chat.completions.create(model="nano-ar", messages=HELLO, max_tokens=100, **extra)  # type: ignore[call-overload]
    assert answer.choices[0].message.reasoning_content == "why"
