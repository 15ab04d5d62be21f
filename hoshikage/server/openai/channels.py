"""An answer in channels, as gpt-oss writes it: messages with a header each, of which one is the answer.

    <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...

What stands in `analysis` is a thought, and a message to a function is a call, if the function was offered and it is an
object. All others are content, and so is what goes on with a message of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hoshikage.server.openai.calls import n_begun, new_call
from hoshikage.server.openai.thoughts import Part

BEGINNINGS = ("<|channel|>", "<|start|>", " to=")
MESSAGE = "<|message|>"
ENDS = ("<|end|>", "<|start|>")
ANY_MESSAGE, ANY_END = re.compile(re.escape(MESSAGE)), re.compile("|".join(map(re.escape, ENDS)))
THOUGHT = re.compile(r"<\|channel\|>\s*analysis\b")
TO_FUNCTION = re.compile(r"\bto=functions\.([^\s<]+)")


class Channels:
    """Splits one answer into thoughts and content, piece by piece."""

    def __init__(self, offered: Mapping[str, Any]) -> None:
        self.calls: list[dict[str, Any]] = []
        self._offered = offered
        self._opened = False  # whether it is known what it begins with
        self._held = ""  # a header, a call, or what may begin a mark
        self._n_searched = 0  # characters of it that begin no mark
        self._inside = False  # a message, and not a header
        self._is_thought = False
        self._function = ""  # that the message is to
        self._begun: set[bool] = set()  # whether a thought has been, and content

    def feed(self, text: str) -> list[Part]:
        self._held += text
        if not self._opened:
            if any(begin.startswith(self._held) for begin in BEGINNINGS):
                return []
            self._opened, self._inside = True, not self._held.startswith(BEGINNINGS)
        parts = []
        while (part := self._next()) is not None:
            parts.append(part)
        return parts

    def finish(self) -> list[Part]:
        held, self._held = self._held, ""
        if not self._opened and held not in BEGINNINGS:
            return [(False, held)]
        return [self._told(held)] if self._inside else []  # a header alone says nothing

    def _next(self) -> Part | None:
        """The next part of what is held; None when that takes more text."""
        mark = (ANY_END if self._inside else ANY_MESSAGE).search(self._held, self._n_searched)
        if mark is None:
            self._n_searched = max(0, len(self._held) - len(MESSAGE))
            return self._grown() if self._inside and not self._function else None
        before, self._n_searched = self._held[: mark.start()], 0
        if not self._inside:
            return self._begin(before, self._held[mark.end() :])
        self._held, self._inside = self._held[mark.start() :], False
        return self._told(before)

    def _grown(self) -> Part | None:
        """What a message that goes on has said, up to where its end may begin."""
        n = len(self._held) - max(n_begun(self._held, mark) for mark in ENDS)
        text, self._held, self._n_searched = self._held[:n], self._held[n:], 0
        return self._told(text) if text else None

    def _begin(self, header: str, rest: str) -> Part:
        """A message; returns what parts it from the one before it of its kind."""
        self._held, self._inside = rest, True
        to = TO_FUNCTION.search(header)
        self._function = to[1] if to else ""
        self._is_thought = not to and THOUGHT.search(header) is not None
        gap = "\n" if self._is_thought in self._begun and not to else ""
        self._begun.add(self._is_thought)
        return self._is_thought, gap

    def _told(self, text: str) -> Part:
        call = new_call(self._function, text) if self._function in self._offered else None
        if call is None:
            return self._is_thought, text
        self.calls.append(call)
        return False, ""
