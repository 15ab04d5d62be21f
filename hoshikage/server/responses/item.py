"""An item of a response's output that grows: a message, or the thought before it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

MESSAGE, REASONING = "message", "reasoning"
PREFIXES = {MESSAGE: "msg", REASONING: "rs"}  # of the ids


@dataclass(slots=True)
class Item:
    """What is known of one. It has a single part, which is its text."""

    kind: str
    texts: list[str] = field(default_factory=list)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = f"{PREFIXES[self.kind]}_{secrets.token_hex(16)}"

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def type_of_part(self) -> str:
        return "output_text" if self.kind == MESSAGE else "reasoning_text"

    @property
    def beside(self) -> dict[str, Any]:
        """What its events have beside the text."""
        return {"logprobs": []} if self.kind == MESSAGE else {}

    def part(self, text: str) -> dict[str, Any]:
        """Its part, with this text."""
        more: dict[str, Any] = {"annotations": []} if self.kind == MESSAGE else {}
        return {"type": self.type_of_part, "text": text, **more, **self.beside}

    def told(self, status: str) -> dict[str, Any]:
        """The item as clients know it."""
        own: dict[str, Any] = {"role": "assistant"} if self.kind == MESSAGE else {"summary": []}
        return {"id": self.id, "type": self.kind, **own, "status": status, "content": [self.part(self.text)]}
