"""The official package, as people use it: plain and streamed, waiting and not, raw, and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.conftest import NewServer, Server

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
WISH: dict[str, Any] = {"model": "fake", "max_tokens": 40, "seed": 3}


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_chat_plain_streamed_and_raw(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(messages=MESSAGES, **WISH)
    content = plain.choices[0].message.content
    assert plain.usage is not None and plain.usage.total_tokens > 0
    chunks = list(
        client.chat.completions.create(messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **WISH)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == content
    assert chunks[-1].usage == plain.usage
    raw = client.chat.completions.with_raw_response.create(messages=MESSAGES, **WISH)
    assert raw.headers["x-request-id"] and raw.parse().choices[0].message.content == content
    with client.chat.completions.with_streaming_response.create(messages=MESSAGES, stream=True, **WISH) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert sum(line == "data: [DONE]" for line in response.iter_lines()) == 1


def test_its_own_helper_for_streams(client: openai.OpenAI) -> None:
    """It takes an answer that was cut for an error, so this one is long enough to meet its end."""
    wish: dict[str, Any] = {"model": "fake", "max_tokens": 400, "seed": 5, "temperature": 1}
    with client.chat.completions.stream(messages=MESSAGES, **wish) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    plain = client.chat.completions.create(messages=MESSAGES, **wish)
    assert "content.done" in kinds
    assert final.choices[0].message.content == plain.choices[0].message.content


def test_diffusion_parameters_stand_in_extra_body(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=MESSAGES,
        extra_body={"diffusion_steps": 4, "diffusion_algorithm": 1, "diffusion_schedule": "timestep", "cfg_scale": 0.5},
        **WISH,
    )
    assert answer.choices[0].to_dict()["hoshikage"]["passes"] <= 4  # type: ignore[index]
    frames = [
        chunk.choices[0].to_dict().get("diffusion")
        for chunk in client.chat.completions.create(
            messages=MESSAGES, stream=True, extra_body={"diffusing": True}, **WISH
        )
    ]
    assert any(frames)


def test_completions_and_models(client: openai.OpenAI) -> None:
    plain = client.completions.create(prompt="hello", logprobs=2, **WISH)
    assert plain.choices[0].logprobs is not None
    stream = client.completions.create(prompt="hello", stream=True, **WISH)
    assert "".join(chunk.choices[0].text for chunk in stream) == plain.choices[0].text
    names = [model.id for model in client.models.list()]
    assert "nano-ar" in names and "fake" in names
    assert client.models.retrieve("nano-ar").to_dict()["kind"] == "causal"


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada", "nano-block"])
def test_tools_and_parsed_answers(client: openai.OpenAI, model: str) -> None:
    import pydantic

    class Person(pydantic.BaseModel):
        age: int = pydantic.Field(ge=0, le=99)
        known: bool

    parsed = client.chat.completions.parse(
        model=model, messages=MESSAGES, max_tokens=60, response_format=Person
    ).choices[0].message.parsed  # fmt: skip
    assert parsed is not None and 0 <= parsed.age <= 99
    tool: Any = openai.pydantic_function_tool(Person)
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=60, tools=[tool], tool_choice="required"
    )
    call: Any = answer.choices[0].message.tool_calls
    assert Person.model_validate_json(call[0].function.arguments)


def test_without_waiting(server: Server) -> None:
    async def ask() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            plain = await client.chat.completions.create(messages=MESSAGES, **WISH)
            text = ""
            async for chunk in await client.chat.completions.create(messages=MESSAGES, stream=True, **WISH):
                text += chunk.choices[0].delta.content or ""
            return plain.choices[0].message.content or "", text

    plain, streamed = asyncio.run(ask())
    assert plain == streamed


def test_errors_have_their_classes(client: openai.OpenAI, new_server: NewServer) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(messages=MESSAGES, model="nobody")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(messages=MESSAGES, model="fake", temperature=-1)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="fake", prompt="x" * 1000)
    assert long.value.code == "context_length_exceeded"
    assert "1000 tokens" in str(long.value) and "exceeds the available context size of 512" in str(long.value)
    assert "shorter prompt" in str(long.value) and "cfg_scale" not in str(long.value), "nobody asked for guidance"
    with openai.OpenAI(base_url=f"{new_server(HOSHIKAGE_API_KEYS='k').url}/v1", api_key="x", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        assert stranger.with_options(api_key="k").models.list().data


def test_an_error_in_the_middle_of_a_stream_is_raised(client: openai.OpenAI) -> None:
    wish: dict[str, Any] = {"model": "fake-slow", "max_tokens": 1500}
    more = {"timeout": 1.5, "early_stop": False, "diffusing": True}
    with pytest.raises(openai.APIError, match="not done within"):
        for _ in client.chat.completions.create(messages=MESSAGES, stream=True, extra_body=more, temperature=1, **wish):
            pass
