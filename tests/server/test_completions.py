"""Completions: lists, ids, gaps, echoes and probabilities."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.conftest import Server

WISH: dict[str, Any] = {"max_tokens": 20, "temperature": 1, "seed": 9, "early_stop": False}


def texts(answer: Any) -> list[str]:
    return [choice["text"] for choice in answer.json["choices"]]


def streamed(answer: Any, n: int) -> list[str]:
    parts = [event["choices"] for event in answer.events[:-1]]
    return ["".join(c["text"] for choices in parts for c in choices if c["index"] == i) for i in range(n)]


def remember(server: Server, prompt: str, model: str) -> None:
    """What is cached of a prompt is computed in another batch, which moves a real model's last digits: both of two
    requests that are compared find it there."""
    assert server.client.complete(prompt, model=model, max_tokens=1).status == 200


def test_the_shape(server: Server) -> None:
    answer = server.client.complete(**WISH).json
    assert answer["object"] == "text_completion" and answer["id"].startswith("cmpl-")
    work = answer["usage"].pop("hoshikage")
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}
    (choice,) = answer["choices"]
    assert work == {name: value for name, value in choice["hoshikage"].items() if name not in ("seed", "seconds")}
    assert work["passes"] > 0 and work["rows"] >= work["passes"] and "plan" in work["how"]
    assert choice["logprobs"] is None and choice["finish_reason"] == "length"


@pytest.mark.parametrize("model", ["fake", "nano-ar", "tiny"])
def test_streamed_and_plain_are_one(server: Server, model: str) -> None:
    remember(server, "Hello, ", model)
    plain = server.client.complete("Hello, ", model=model, **WISH)
    assert plain.status == 200, plain.body
    stream = server.client.complete("Hello, ", model=model, stream=True, **WISH)
    assert streamed(stream, 1) == texts(plain)
    assert stream.events[-1] == "[DONE]"


def test_prompts_in_every_form(server: Server) -> None:
    one = texts(server.client.complete("ab", **WISH))
    assert texts(server.client.complete([97, 98], **WISH)) == one
    both = server.client.complete(["ab", "cd"], n=2, **WISH)
    assert [choice["index"] for choice in both.json["choices"]] == [0, 1, 2, 3]
    assert texts(both)[0] == one[0]
    assert texts(server.client.complete([[97, 98], "cd"], n=2, **WISH)) == texts(both)
    assert streamed(server.client.complete(["ab", "cd"], n=2, stream=True, **WISH), 4) == texts(both)
    usage = both.json["usage"]
    assert usage["prompt_tokens"] == 4
    for name in ("passes", "rows"):
        assert usage["hoshikage"][name] == sum(choice["hoshikage"][name] for choice in both.json["choices"])


@pytest.mark.parametrize(
    ("prompt", "status"),
    [([], 400), ([-1], 400), ([10**6], 400), ([1.5], 400), ([None], 400), ({"a": 1}, 400), (["x"] * 300, 400),
     ([[1, "a"]], 400), ([2**31], 400), (True, 400)],
)  # fmt: skip
def test_prompts_that_are_none(server: Server, prompt: Any, status: int) -> None:
    answer = server.client.complete(prompt)
    assert (answer.status, answer.error["param"]) == (status, "prompt"), answer.body


def test_a_million_prompts_are_refused_and_none_is_a_prompt_too(server: Server) -> None:
    answer = server.client.complete(["x"] * 1_000_000)
    assert (answer.status, answer.error["param"]) == (400, "prompt")
    answer = server.client.complete(["x"] * 20, n=100)
    assert (answer.status, answer.error["param"]) == (400, "n")
    assert server.client.complete("", max_tokens=4).json["usage"]["prompt_tokens"] == 0
    empty = server.client.complete("", model="nano-ar", max_tokens=4)
    assert (empty.status, empty.error["param"]) == (400, "prompt"), "an autoregressive model needs something to go on"


def test_a_gap_is_filled(server: Server) -> None:
    answer = server.client.complete("def f(", suffix="):", **WISH)
    assert answer.status == 200, answer.body
    assert streamed(server.client.complete("def f(", suffix="):", stream=True, **WISH), 1) == texts(answer)
    assert server.client.complete(["a", "b"], suffix="c").error["param"] == "suffix"
    refused = server.client.complete("a", suffix="b", model="nano-ar")
    assert refused.status == 400, refused.body


def test_an_echo_begins_with_the_prompt(server: Server) -> None:
    (plain,) = texts(server.client.complete("abc", **WISH))
    assert texts(server.client.complete("abc", echo=True, **WISH)) == ["abc" + plain]
    assert texts(server.client.complete([97, 98, 99], echo=True, **WISH)) == ["abc" + plain]
    assert streamed(server.client.complete("abc", echo=True, stream=True, **WISH), 1) == ["abc" + plain]
    refused = server.client.complete("abc", echo=True, logprobs=1)
    assert (refused.status, refused.error["param"]) == (400, "echo")
    assert "diffusion" in refused.error["message"]


@pytest.mark.parametrize("model", ["fake", "nano-ar"])
def test_legacy_probabilities(server: Server, model: str) -> None:
    remember(server, "Hello", model)
    answer = server.client.complete("Hello", model=model, logprobs=2, max_tokens=8, seed=1).json
    rows = answer["choices"][0]["logprobs"]
    n = answer["usage"]["completion_tokens"]
    assert [len(rows[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] == [n] * 4
    assert all(logprob <= 0 for logprob in rows["token_logprobs"])
    assert rows["text_offset"] == sorted(rows["text_offset"])
    stream = server.client.complete("Hello", model=model, logprobs=2, max_tokens=8, seed=1, stream=True)
    pieces = [choice["logprobs"] for event in stream.events[:-1] for choice in event["choices"] if choice["logprobs"]]
    joined = {name: [item for piece in pieces for item in piece[name]] for name in rows}
    assert (joined["tokens"], joined["text_offset"]) == (rows["tokens"], rows["text_offset"])
    assert joined["token_logprobs"] == pytest.approx(rows["token_logprobs"], abs=1e-3)
    for streamed_top, top in zip(joined["top_logprobs"], rows["top_logprobs"], strict=True):
        assert max(streamed_top.values()) == pytest.approx(max(top.values()), abs=1e-3)


@pytest.mark.parametrize("prompt", ["Hello", [0, 1]], ids=["text", "ids that spell none"])
@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("stream", [False, True])
def test_a_causal_model_judges_its_prompt(server: Server, prompt: Any, n: int, stream: bool) -> None:
    wish: dict[str, Any] = {"model": "nano-ar", "echo": True, "logprobs": 1, "max_tokens": n, "seed": 1}
    plain = server.client.complete(prompt, **wish)
    assert plain.status == 200, plain.body
    usage = plain.json["usage"]
    (choice,) = plain.json["choices"]
    if stream:
        events = server.client.complete(prompt, **wish, stream=True).events
        ((choice,),) = [event["choices"] for event in events[:-1]]
    rows = choice["logprobs"]
    assert rows["token_logprobs"][0] is None
    assert len(rows["tokens"]) == usage["total_tokens"] == usage["prompt_tokens"] + n
    assert all(logprob <= 0 for logprob in rows["token_logprobs"][1:])
    assert n or choice["text"] == ("Hello" if prompt == "Hello" else "")


def test_nothing_is_not_wanted_for_nothing(server: Server) -> None:
    for more in ({"model": "nano-ar"}, {"echo": True}, {}):
        answer = server.client.complete("Hello", max_tokens=0, **more)
        assert (answer.status, answer.error["param"]) == (400, "max_tokens"), more
