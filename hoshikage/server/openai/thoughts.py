"""What a model thinks before it answers, told apart from the answer.

Thinking models (Qwen3, DeepSeek-R1, GLM) write `<think>` first, or their templates do, and answer behind `</think>`.
Both are handed on as they come, up to where a tag may begin. A tag anywhere else is text like any other, and a thought
that does not end is a thought to its end, as llama-server has it.
"""

from __future__ import annotations

from typing import Protocol

from hoshikage.engine.prompt import THINK
from hoshikage.server.openai.calls import Reader, n_begun
from hoshikage.worker.ask import Answered, Said

CLOSE = "</think>"


class Splitter(Protocol):
    """Splits one answer into (thought, content), piece by piece."""

    def feed(self, text: str) -> tuple[str, str]:
        """The next text; returns what is thought and what is content for certain."""

    def finish(self) -> tuple[str, str]:
        """No more will come; returns what was held back."""


class Thoughts:
    """Splits one answer into (thought, content), piece by piece; the white space round a thought belongs to neither."""

    def __init__(self) -> None:
        self._read = self._opening  # what the next text is
        self._held = ""  # it may begin a tag
        self._space: list[str] = []  # in front of what is held
        self._said_any = False  # of a thought

    def feed(self, text: str) -> tuple[str, str]:
        return self._read(text)

    def finish(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        if self._read == self._thinking:
            return self._trimmed(held), ""
        return "", self._spaced(held)

    def _opening(self, text: str) -> tuple[str, str]:
        text = self._held + text
        begun = text.lstrip()
        self._space.append(text[: len(text) - len(begun)])
        if begun.startswith(THINK):
            self._held, self._space, self._read = "", [], self._thinking
            return self._thinking(begun.removeprefix(THINK))
        if THINK.startswith(begun):
            self._held = begun
            return "", ""
        self._held, self._read = "", self._answering
        return "", self._spaced(begun)

    def _thinking(self, text: str) -> tuple[str, str]:
        thought, closed, rest = (self._held + text).partition(CLOSE)
        n = len(thought) - (0 if closed else n_begun(thought, CLOSE))
        self._held = thought[n:]
        said = self._trimmed(thought[:n])
        if not closed:
            return said, ""
        self._space, self._read = [], self._closing
        return said, self._closing(rest)[1]

    def _closing(self, text: str) -> tuple[str, str]:
        content = text.lstrip()
        if content:
            self._read = self._answering
        return "", content

    def _answering(self, text: str) -> tuple[str, str]:
        return "", text

    def _trimmed(self, thought: str) -> str:
        """A part of a thought; the white space at its end is one only if more follows."""
        said = thought.rstrip()
        space = thought[len(said) :]
        if said and not self._said_any:
            said, self._said_any = said.lstrip(), True
        elif said:
            said = self._spaced(said)
        if self._said_any:
            self._space.append(space)
        return said

    def _spaced(self, text: str) -> str:
        """A text behind the white space that was kept for it."""
        text, self._space = "".join([*self._space, text]), []
        return text


class Reading:
    """One answer, event by event: its thought where thoughts are told apart, its content, and the calls in that."""

    def __init__(self, reader: Reader, thoughts: Splitter | None) -> None:
        self._reader = reader
        self._thoughts = thoughts
        self._begun = False
        self.calls = reader.calls

    def take(self, event: Said | Answered) -> tuple[str, str]:
        """What it adds to the thought and to the content."""
        thought, text = self._split(event)
        content = self._reader.feed(text)
        return thought, content + self._reader.finish() if isinstance(event, Answered) else content

    def _split(self, event: Said | Answered) -> tuple[str, str]:
        thoughts = self._thoughts
        if thoughts is None:
            return "", event.delta
        if event.in_thought and not self._begun:
            thoughts.feed(THINK)  # which the prompt ends with
        self._begun = True
        parts = [thoughts.feed(event.delta), *([thoughts.finish()] if isinstance(event, Answered) else [])]
        return "".join(thought for thought, _ in parts), "".join(content for _, content in parts)
