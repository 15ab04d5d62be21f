"""Anthropic's own package against a server: plain, streamed, a tool, counted, and its errors. URL is the argument."""

from __future__ import annotations

import sys
from typing import Any

import anthropic

WISH: dict[str, Any] = {"model": "nano-ar", "max_tokens": 60, "messages": [{"role": "user", "content": "12+35="}]}
TOOL: Any = {
    "name": "get_weather",
    "description": "Weather of a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
THOUGHTFUL = {"grammar": 'root ::= "<think>why</think>so"'}


def main(url: str) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    plain = client.messages.create(**WISH)
    assert plain.content[0].type == "text" and "47" in plain.content[0].text
    with client.messages.stream(**WISH) as stream:
        assert "".join(stream.text_stream) == plain.content[0].text
        final = stream.get_final_message()
    assert final.stop_reason == plain.stop_reason and final.usage.output_tokens == plain.usage.output_tokens
    counted = client.messages.count_tokens(model="nano-ar", messages=WISH["messages"])
    assert counted.input_tokens == plain.usage.input_tokens
    thought = client.messages.create(**WISH, thinking=THINKING, extra_body=THOUGHTFUL)
    first, text = thought.content
    assert first.type == "thinking" and (first.thinking, first.signature) == ("why", "")
    assert text.type == "text" and text.text == "so"
    with client.messages.stream(**WISH, thinking=THINKING, extra_body=THOUGHTFUL) as stream:
        streamed, text = stream.get_final_message().content
    assert streamed == first and text.type == "text" and text.text == "so"
    turns = [*WISH["messages"], {"role": "assistant", "content": thought.content}, *WISH["messages"]]
    assert client.messages.create(**{**WISH, "messages": turns}).content
    used = client.messages.create(**WISH, tools=[TOOL], tool_choice={"type": "any"})
    assert used.stop_reason == "tool_use" and used.content[0].type == "tool_use"
    result: Any = {"type": "tool_result", "tool_use_id": used.content[0].id, "content": "sunny"}
    turns = [*WISH["messages"], {"role": "assistant", "content": used.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**{**WISH, "messages": turns}, tools=[TOOL]).content
    try:
        client.messages.create(**{**WISH, "model": "nobody"})
    except anthropic.NotFoundError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("an unknown model was no error")


if __name__ == "__main__":
    main(sys.argv[1])
