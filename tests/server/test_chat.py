"""Chats with a server over a socket."""

from __future__ import annotations

from typing import Any

from tests.server.conftest import Server


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
