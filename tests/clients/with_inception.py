"""LiteLLM's `inception` provider, which speaks Mercury's API: chat, streamed, and gaps. URL is the argument."""

from __future__ import annotations

import sys
from typing import Any

import litellm

MESSAGES = [{"role": "user", "content": "hello"}]


def main(url: str) -> None:
    where: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "any", "num_retries": 0}
    wish: dict[str, Any] = {"model": "inception/fake", "messages": MESSAGES, "max_tokens": 40, "temperature": 0}
    plain = litellm.completion(**wish, **where)
    content = plain.choices[0].message.content
    assert content and plain.usage.total_tokens > 0
    stream = litellm.completion(**wish, **where, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == content
    diffusing = litellm.completion(**wish, **where, stream=True, diffusing=True, reasoning_effort="low")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in diffusing) == content
    gap: dict[str, Any] = {
        "model": "text-completion-inception/fake", "prompt": "def f(", "suffix": "):", "max_tokens": 20,
    }  # fmt: skip
    filled = litellm.text_completion(**gap, **where)
    text = filled.choices[0].text
    assert text
    pieces = litellm.text_completion(**gap, **where, stream=True)
    assert "".join(chunk.choices[0].text or "" for chunk in pieces) == text


if __name__ == "__main__":
    main(sys.argv[1])
