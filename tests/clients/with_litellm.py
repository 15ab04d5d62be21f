"""LiteLLM against a server: plain, streamed, a gap filled, its errors. `python with_litellm.py URL`."""

from __future__ import annotations

import sys
from typing import Any

import litellm

MESSAGES = [{"role": "user", "content": "hello"}]
WISH: dict[str, Any] = {"model": "openai/fake", "messages": MESSAGES, "max_tokens": 40, "seed": 3, "num_retries": 0}


def main(url: str) -> None:
    where: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "any"}
    plain = litellm.completion(**WISH, **where)
    content = plain.choices[0].message.content
    assert content and plain.usage.total_tokens > 0
    stream = litellm.completion(**WISH, **where, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == content
    text = litellm.text_completion(
        model="text-completion-openai/nano-ar", prompt="hello", max_tokens=8, num_retries=0, **where
    )
    assert text.choices[0].text is not None
    steps = litellm.completion(**WISH, **where, extra_body={"diffusion_steps": 4})
    assert steps.choices[0].message.content
    refused({**WISH, "model": "openai/nobody"}, where, litellm.exceptions.NotFoundError)
    long = [{"role": "user", "content": "x" * 1000}]
    refused({**WISH, "messages": long}, where, litellm.exceptions.ContextWindowExceededError)


def refused(wish: dict[str, Any], where: dict[str, Any], kind: type[Exception]) -> None:
    try:
        litellm.completion(**wish, **where)
    except kind:
        return
    raise AssertionError(f"this was not refused by {kind.__name__}: {wish}")


if __name__ == "__main__":
    main(sys.argv[1])
