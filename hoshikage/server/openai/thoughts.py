"""What a model thinks before it answers, told apart from the answer.

Thinking models (Qwen3, DeepSeek-R1, GLM) write `<think>` first, or their templates do, and answer behind `</think>`.
Both are handed on as they come, up to where a tag may begin. A tag anywhere else is text like any other, and a thought
that does not end is a thought to its end, as llama-server has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

from hoshikage.engine.prompt import THINK, THOUGHT_ENDS
from hoshikage.server.openai.calls import Reader, n_begun
from hoshikage.worker.ask import Answered, Said

Part: TypeAlias = tuple[bool, str]  # whether it is thought, and the text


class Splitter(Protocol):
    """Splits one answer into thoughts and content, piece by piece; calls that it meets on its way belong to neither."""

    calls: list[dict[str, Any]]

    def feed(self, text: str) -> list[Part]:
        """The next text; returns what is thought and what is content for certain, in order."""

    def finish(self) -> list[Part]:
        """No more will come; returns what was held back."""


def joined(parts: Iterable[Part]) -> tuple[str, str]:
    """All that is thought, and all that is content."""
    texts: dict[bool, list[str]] = {True: [], False: []}
    for is_thought, text in parts:
        texts[is_thought].append(text)
    return "".join(texts[True]), "".join(texts[False])


class Thoughts:
    """Splits one answer into (thought, content), piece by piece; the white space round a thought belongs to neither."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._read = self._opening  # what the next text is
        self._held = ""  # it may begin a tag
        self._space: list[str] = []  # in front of what is held
        self._said_any = False  # of a thought

    def feed(self, text: str) -> list[Part]:
        thought, content = self._read(text)
        return [(True, thought), (False, content)]

    def finish(self) -> list[Part]:
        held, self._held = self._held, ""
        if self._read == self._thinking:
            return [(True, self._trimmed(held))]
        return [(False, self._spaced(held))]

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
        thought, closed, rest = (self._held + text).partition(THOUGHT_ENDS)
        n = len(thought) - (0 if closed else n_begun(thought, THOUGHT_ENDS))
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
    """One answer, event by event: its thought, unless that is not to be told apart, its content, and its calls."""

    def __init__(self, reader: Reader, splitter: Splitter | None, *, apart: bool = True) -> None:
        self._reader = reader
        self._splitter = splitter
        self._apart = apart
        self._begun = False

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Those that were met so far."""
        return [*self._reader.calls, *(self._splitter.calls if self._splitter is not None else ())]

    def take(self, event: Said | Answered) -> list[Part]:
        """What it adds, in order."""
        parts = self._split(event)
        if not self._apart:
            parts = [(False, text) for _, text in parts]
        read = [(is_thought, text if is_thought else self._reader.feed(text)) for is_thought, text in parts]
        if isinstance(event, Answered):
            read.append((False, self._reader.finish()))
        return [part for part in read if part[1]]

    def _split(self, event: Said | Answered) -> list[Part]:
        splitter = self._splitter
        if splitter is None:
            return [(False, event.delta)]
        if event.in_thought and not self._begun:
            splitter.feed(THINK)  # which the prompt ends with
        self._begun = True
        return [*splitter.feed(event.delta), *(splitter.finish() if isinstance(event, Answered) else ())]
