"""The routes of this door."""

from __future__ import annotations

from hoshikage.server.anthropic import messages, tables
from hoshikage.server.door import Line
from hoshikage.server.shell.keys import Access

LINES: list[Line] = [
    ("POST", "/v1/messages", messages.answer, Access.USER, "Answer a conversation, Anthropic's way",
     {"table": tables.MESSAGES}),
    ("POST", "/v1/messages/count_tokens", messages.count, Access.USER, "Count the tokens of a conversation",
     {"table": tables.COUNT}),
]  # fmt: skip
