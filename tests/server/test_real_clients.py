"""Requests as the clients of today send them, as read in their sources: what they send, and what they read."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.server.client import until
from tests.server.conftest import Server

HELLO = [{"role": "user", "content": "hello"}]
ENDLESS = 'root ::= "a" root'  # a text that does not end by itself
FUNCTION = {"type": "function", "name": "read", "parameters": {"type": "object", "properties": {}}}
USE = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a"}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


@pytest.mark.parametrize("model", [None, "", "fake"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"messages": HELLO}), ("/chat/completions", {"messages": HELLO}),
     ("/v1/edit/completions", {"messages": HELLO}), ("/v1/apply/completions", {"messages": HELLO}),
     ("/v1/completions", {"prompt": "hello"}), ("/infill", {"input_prefix": "a", "input_suffix": "b"}),
     ("/v1/fim/completions", {"prompt": "a", "suffix": "b"}), ("/completion", {"prompt": "hello"})],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_model_need_not_be_named(server: Server, path: str, body: dict[str, Any], model: str | None) -> None:
    """llama.vim sends an empty name whatever is set, llama.vscode none for its gaps."""
    named = {} if model is None else {"model": model}
    assert server.client.chat(max_tokens=1).status == 200  # there is one in memory
    answer = server.client.post(path, {**body, **named, "max_tokens": 4})
    if path == "/v1/chat/completions" and model is None:  # as OpenAI has it, and llm-comply wants it
        assert (answer.status, answer.error["param"]) == (400, "model")
        return
    assert answer.status == 200 and "warning" not in answer.json, answer.body


@pytest.mark.parametrize(
    ("model", "n", "endless"),
    [("nano-ar", 400, {"grammar": ENDLESS}), ("nano-block", 400, {"logit_bias": {"0": -1000, "1": -1000}}),
     ("fake", 256, {"early_stop": False, "logits_eos_inf": True, "confidence_eos_eot_inf": True})],
    ids=["causal", "block", "masked"],
)  # fmt: skip
def test_an_answer_without_a_length_is_as_long_as_it_likes(
    server: Server, model: str, n: int, endless: dict[str, Any]
) -> None:
    """Codex, Zed and Open WebUI name none. The canvas of a masked model has to have a length."""
    for unset in ({}, {"max_tokens": -1}, {"n_predict": -1}, {"max_completion_tokens": -1}):
        answer = server.client.chat(model=model, **endless, **unset).json
        assert answer["choices"][0]["finish_reason"] == "length" and "warning" not in answer
        assert n <= answer["usage"]["completion_tokens"] < 512
    assert "max_tokens" in server.client.chat(model=model, max_tokens=9999, **endless).json["warning"]


def test_a_prompt_is_read_for_later(server: Server) -> None:
    """llama.vim warms the cache of a chat before it is asked."""
    warm = {"n_predict": 0, "samplers": [], "cache_prompt": True, "response_fields": [""], "top_k": -1}
    answer = server.client.chat(model="nano-ar", **warm).json
    assert answer["usage"]["completion_tokens"] == 0 and answer["choices"][0]["message"]["content"] in (None, "")


def test_an_editor_reads_the_places_that_it_asks_for(server: Server) -> None:
    """llama.vim's own request, and all that its status line is made of."""
    timings = ["prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_n", "predicted_ms",
               "predicted_per_token_ms", "predicted_per_second"]  # fmt: skip
    others = ["content", "truncated", "tokens_cached", "generation_settings/n_ctx"]
    fields = [*others, *(f"timings/{name}" for name in timings)]
    wish = {"id_slot": 0, "input_prefix": "def f(", "input_suffix": "):", "input_extra": [], "prompt": "",
            "n_predict": 8, "stop": [], "n_indent": 0, "top_k": 40, "top_p": 0.9, "stream": False,
            "cache_prompt": True, "model": "", "samplers": ["infill"], "t_max_prompt_ms": 9, "t_max_predict_ms": 500,
            "response_fields": [*fields, "nothing/there"]}  # fmt: skip
    assert server.client.chat(max_tokens=1).status == 200
    answer = server.client.post("/infill", wish).json
    assert set(answer) == set(fields)
    assert server.client.post("/infill", {**wish, "response_fields": [""]}).json == {}
    for wrong in ("content", [5], ["x"] * 300):
        refused = server.client.post("/infill", {**wish, "response_fields": wrong})
        assert refused.status == 400 and refused.error["param"].startswith("response_fields")


def test_the_list_of_models_has_the_shapes_of_llama_server(server: Server) -> None:
    """Zed refuses the whole list where one of them is another."""
    cards = {card["id"]: card for card in server.client.get("/v1/models").json["data"]}
    assert cards["nano-ar"]["architecture"] == {"input_modalities": ["text"], "output_modalities": ["text"]}
    assert cards["nano-ar"]["meta"]["n_ctx"] == 512 and cards["nano-ar"]["model_architecture"] == "llama"
    caps = server.client.get("/props?model=nano-ar").json["chat_template_caps"]
    assert caps == {"supports_tools": False, "supports_tool_calls": False}  # its template knows of none


@pytest.mark.parametrize(
    "form",
    [{"response_format": {"type": "json_object", "schema": {"const": 12}}},
     {"response_format": {"type": "json_schema", "schema": {"const": 12}}},
     {"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": 12}}}},
     {"json_schema": {"const": 12}}],
    ids=["object", "beside", "inside", "alone"],
)  # fmt: skip
def test_a_schema_is_found_where_clients_put_it(server: Server, form: dict[str, Any]) -> None:
    answer = server.client.chat(model="nano-ar", max_tokens=8, **form).json
    assert answer["choices"][0]["message"]["content"] == "12" and "warning" not in answer


def test_two_forms_at_once_are_refused(server: Server) -> None:
    answer = server.client.chat(model="nano-ar", json_schema={"const": 1}, response_format={"type": "json_object"})
    assert (answer.status, answer.error["param"]) == (400, "json_schema")


def test_keys_that_mean_nothing_are_no_mistake(server: Server) -> None:
    """vLLM's benchmarks send one beside `include_usage`; a misspelt one was meant to do something."""
    answer = server.client.chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert answer.status == 200 and answer.events[-2]["usage"]
    assert server.client.chat(stream_options={"include_usages": True}).error["param"] == "stream_options.include_usages"


def test_many_tools_with_long_names(server: Server) -> None:
    """Claude Code with a handful of MCP servers."""
    tools = [{"name": f"mcp__plugin_{'x' * 80}__{i}", "input_schema": {"type": "object"}} for i in range(200)]
    wish = {"model": "nano-ar", "max_tokens": 4, "messages": HELLO, "tools": tools}
    assert server.client.post("/v1/messages/count_tokens", wish).status == 200


def test_groups_of_functions_are_told_and_called(server: Server) -> None:
    """Codex offers each MCP server as a group, and calls nothing whose group stands only in the name."""
    group = {"type": "namespace", "name": "mcp__fs", "description": "files", "tools": [FUNCTION]}
    wish = {"model": "nano-ar", "input": "hello", "tools": [group, {"type": "web_search"}],
            "tool_choice": "required", "max_output_tokens": 60}  # fmt: skip
    answer = server.client.post("/v1/responses", wish).json
    (call,) = answer["output"]
    assert (call["type"], call["namespace"], call["name"]) == ("function_call", "mcp__fs", "read")
    assert "web_search" in answer["warning"] and "namespace" not in answer["warning"]
    named = {**wish, "tool_choice": {"type": "function", "name": "read", "namespace": "mcp__fs"}}
    assert server.client.post("/v1/responses", named).json["output"][0]["name"] == "read"
    turns = [*HELLO, call, {"type": "function_call_output", "call_id": call["call_id"], "output": "nothing"}]
    assert server.client.post("/v1/responses", {**wish, "input": turns}).status == 200


@pytest.mark.parametrize(
    ("path", "turns"),
    [("/v1/messages", [{"role": "user", "content": [PICTURE]}, {"role": "assistant", "content": "yes"}, *HELLO]),
     ("/v1/chat/completions", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
                               {"role": "assistant", "content": "yes"}, *HELLO]),
     ("/v1/messages", [{"role": "user", "content": "look"},
                       {"role": "assistant", "content": [USE, {"type": "server_tool_use", "id": "c"}]},
                       {"role": "user", "content": [{**RESULT, "content": [PICTURE]}]}]),
     ("/v1/responses", [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}, *HELLO]),
     ("/v1/responses", [{"role": "user", "content": "look"},
                        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "x"},
                        {"type": "custom_tool_call_output", "call_id": "a", "output": [{"type": "input_image"}]},
                        {"type": "web_search_call", "id": "w"}])],
    ids=["messages", "chat", "results", "responses", "calls"],
)  # fmt: skip
def test_a_picture_ends_no_conversation(server: Server, path: str, turns: list[Any]) -> None:
    """The history is sent again with every turn. Who sends a picture to be looked at now is told that nobody can."""
    name = "input" if path == "/v1/responses" else "messages"
    wish = {"model": "nano-ar", "max_tokens" if name == "messages" else "max_output_tokens": 4, name: turns}
    answer = server.client.post(path, wish)
    assert answer.status == 200 and "image" in answer.json["warning"], answer.body
    if isinstance(turns[0]["content"], list):
        for asked in (turns[:1], [*turns[:1], {"role": "assistant", "content": "I see"}]):
            now = server.client.post(path, {**wish, name: asked})
            assert now.status == 400 and now.error["param"].startswith(name), now.body


def test_contents_that_nobody_reads_may_be_anything(server: Server) -> None:
    turns = [{"type": "web_search_call", "content": ["abc"]}, *HELLO]
    assert server.client.post("/v1/responses", {"model": "fake", "input": turns, "max_output_tokens": 2}).status == 200


def test_a_reference_to_what_is_not_stored_says_so(server: Server) -> None:
    """The AI SDK refers to earlier items by their names unless it is told that nothing is stored."""
    turns = [{"type": "item_reference", "id": "msg_1"}, *HELLO]
    answer = server.client.post("/v1/responses", {"model": "fake", "input": turns})
    assert answer.status == 400 and "store: false" in answer.error["message"]


def test_health_has_two_addresses(server: Server) -> None:
    assert server.client.get("/v1/health").json == server.client.get("/health").json


def test_half_a_character_in_a_call_is_no_fault(server: Server) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    written = r'root ::= "{\"name\": \"f\", \"arguments\": {\"a\": \"\\ud800\"}}"'
    wish = {"model": "nano-ar", "tools": [tool], "grammar": written, "max_tokens": 200}
    for stream in (False, True):
        answer = server.client.chat(**wish, stream=stream)
        assert answer.status == 200 and b"internal_error" not in answer.body, answer.body
        assert b"tool_calls" in answer.body


def test_an_ambiguous_grammar_ends_alone(server: Server) -> None:
    """What has to be kept in mind of it doubles with every token; its neighbours would wait."""
    doubling = r'root ::= "a" root "ba" | "a" root "ca"'
    began = time.monotonic()
    answer = server.client.chat(model="nano-ar", grammar=doubling, max_tokens=200)
    assert (answer.status, answer.error["code"]) == (400, "no_token_left"), answer.body
    assert time.monotonic() - began < 60
    assert server.client.chat(model="nano-ar", max_tokens=2).status == 200
    until(lambda: server.client.model("nano-ar")["n_active"] == 0, "nothing goes on")
