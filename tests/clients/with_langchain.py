"""LangChain's ChatOpenAI against a server: asked, streamed, in a batch, and for a structure. URL is the argument."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field


class Person(BaseModel):
    """A person."""

    age: int = Field(ge=0, le=99)


def main(url: str) -> None:
    where: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0}
    model = ChatOpenAI(model="fake", max_tokens=40, seed=3, stream_usage=True, **where)
    plain = model.invoke("hello")
    assert plain.content and plain.usage_metadata["total_tokens"] > 0
    assert "".join(str(chunk.content) for chunk in model.stream("hello")) == plain.content
    assert [answer.content for answer in model.batch(["hello", "hello"])] == [plain.content] * 2
    assert asyncio.run(model.ainvoke("hello")).content == plain.content
    causal = ChatOpenAI(model="nano-ar", max_tokens=60, **where)
    for method in ("json_schema", "function_calling"):
        person = causal.with_structured_output(Person, method=method).invoke("How old?")
        assert isinstance(person, Person), (method, person)
    assert OpenAI(model="nano-ar", max_tokens=8, **where).invoke("hello") is not None


if __name__ == "__main__":
    main(sys.argv[1])
