"""From what a person wrote to the tokens the model reads.

The template's special tokens are special; the same characters in somebody's message are plain text, so a
message cannot end its own turn or speak for another role. BOS comes once, whoever adds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from hoshikage.checks import as_text, as_whole, nearest, shown
from hoshikage.engine.renderer import Renderer
from hoshikage.engine.telling import Turns, told
from hoshikage.errors import ParameterError, TemplateError

ROLES = ("system", "developer", "user", "assistant", "tool")
DEPTH = 32  # of lists and objects inside a message
STAND_INS = range(0xF0000, 0xFFFFE)  # private characters that stand for special tokens in messages
THINK, THOUGHT_ENDS = "<think>", "</think>"  # round a thought; some templates write the first themselves


class Vocabulary(Protocol):
    """The part of a model that turns text into tokens and back."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def add_bos(self) -> bool: ...
    def tokenize(self, text: str, *, add_special: bool = ..., parse_special: bool = ...) -> list[int]: ...
    def piece(self, token: int, *, special: bool = ...) -> bytes: ...


def text_ids(
    vocabulary: Vocabulary, text: object, *, name: str = "prompt", parse_special: bool = False, opens: bool = True
) -> list[int]:
    """The tokens of a plain text; one that opens a prompt gets its BOS. EOS is never added: a prompt goes on."""
    ids = vocabulary.tokenize(as_text(name, text), parse_special=parse_special)
    return with_bos(vocabulary, ids) if opens else ids


def checked_ids(vocabulary: Vocabulary, ids: Iterable[object], *, name: str = "prompt") -> list[int]:
    """Token ids as given, every one inside the vocabulary."""
    checked = [as_whole(name, token) for token in ids]
    for token in checked:
        if not 0 <= token < vocabulary.n_vocab:
            cause = f"id {shown(token)} is outside the vocabulary of {vocabulary.n_vocab}"
            raise ParameterError(name, cause, "use ids that tokenize returned")
    return checked


def with_bos(vocabulary: Vocabulary, ids: list[int]) -> list[int]:
    """BOS in front where the model wants it, once."""
    bos = vocabulary.bos_id
    if bos < 0:
        return ids
    n_bos = next((i for i, token in enumerate(ids) if token != bos), len(ids))
    return [bos] * (vocabulary.add_bos or n_bos > 0) + ids[n_bos:]


def chat_ids(
    vocabulary: Vocabulary,
    renderer: Renderer | None,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool | None = None,
    template_options: Mapping[str, Any] | None = None,
) -> list[int]:
    """The tokens of a conversation, by the model's own chat template.

    `continue_final_message`: they end where the last message does, and the answer goes on with it; unset: where that is
    a text of the assistant's, and what it would say next is wanted.
    """
    if renderer is None:
        raise TemplateError("the model file has no chat template", "give the prompt as plain text")
    shield = Shield(vocabulary)
    turns = checked_messages(messages)
    goes_on = begun(turns[-1]) and add_generation_prompt if continue_final_message is None else continue_final_message
    if goes_on and not begun(turns[-1]):
        raise ParameterError("continue_final_message", "the last message is no text of the assistant's", "end with one")
    mark = shield.mark()
    context = {
        **shield.covered(template_options or {}),
        "tools": shield.covered(tools) if tools else None,
        "add_generation_prompt": add_generation_prompt and not goes_on,
        "bos_token": special_text(vocabulary, vocabulary.bos_id),
        "eos_token": special_text(vocabulary, vocabulary.eos_id),
    }

    def render(turns: Turns) -> str:
        covered = [shield.covered(turn) for turn in turns]
        covered[-1]["content"] += mark if goes_on else ""
        return renderer.render({**context, "messages": covered})

    rendered = told(renderer.template, render, turns)
    if goes_on:
        rendered, found, _ = rendered.rpartition(mark)
        if not found:
            raise TemplateError("the chat template leaves out the last message", "end with a message of the user")
    return with_bos(vocabulary, shield.tokenize(rendered))


def begun(turn: Mapping[str, Any]) -> bool:
    """Whether an answer may go on with this message."""
    return turn["role"] == "assistant" and bool(turn["content"]) and not turn.get("tool_calls")


def checked_list(messages: object) -> Sequence[object]:
    """At least one message, in a list."""
    if not isinstance(messages, (list, tuple)):
        raise ParameterError("messages", f"{shown(messages)} is not a list", "give a list of {'role', 'content'}")
    if not messages:
        raise ParameterError("messages", "there is none", "give at least one {'role', 'content'}")
    return messages


def checked_messages(messages: object) -> list[dict[str, Any]]:
    """The messages of a conversation; what is wrong with one is said with its number."""
    turns = []
    for number, message in enumerate(checked_list(messages), 1):
        try:
            turns.append(checked_message(message))
        except ParameterError as error:
            raise ParameterError(error.name, f"message {number}: {error.cause}", error.remedy) from None
    return turns


def checked_message(message: object) -> dict[str, Any]:
    """A message with a known role and its content as one string."""
    if not isinstance(message, Mapping):
        raise ParameterError("messages", f"{shown(message)} is not a message", "give {'role', 'content'}")
    role = message.get("role")
    if role not in ROLES:
        cause = f"role {shown(role)} is unknown{nearest(str(role), ROLES)}"
        raise ParameterError("messages", cause, f"use one of {', '.join(ROLES)}")
    if role == "user" and message.get("content") is None:
        raise ParameterError("messages", "a user's message has no content", "send a text")
    return {**message, "content": content_text(message.get("content"))}


def content_text(content: object) -> str:
    """Content is text, or parts of which only the text kind means something here."""
    if content is None:
        return ""
    if isinstance(content, (list, tuple)):
        return "\n".join(part_text(part) for part in content)
    return as_text("messages", content)


def part_text(part: object) -> str:
    """The text of one content part."""
    if isinstance(part, Mapping) and part.get("type") == "text":
        return as_text("messages", part.get("text"))
    kind = part.get("type") if isinstance(part, Mapping) else part
    cause = f"a content part of type {shown(kind)} is not text, which is all that models here read"
    raise ParameterError("messages", cause, "send {'type': 'text', 'text': ...}")


def special_text(vocabulary: Vocabulary, token: int) -> str:
    """How a special token is written."""
    return vocabulary.piece(token, special=True).decode(errors="replace") if token >= 0 else ""


class Shield:
    """Keeps special tokens that somebody typed from being read as such.

    Before the template runs, each one inside a message is replaced by a private character; afterwards the
    rendered text is cut at the template's own special tokens, and what lies between becomes plain text,
    private characters turned back.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._stand_ins: dict[str, str] = {}  # special text -> private character
        self._free = (chr(code) for code in STAND_INS)

    def covered(self, value: Any, depth: int = DEPTH) -> Any:
        """The same value with every string in it covered."""
        if isinstance(value, str):
            return self._cover(as_text("messages", value))
        if isinstance(value, (int, float)) or value is None:
            return value
        if depth == 0:
            raise ParameterError("messages", "lists and objects are nested too deeply", f"stay within {DEPTH} levels")
        if isinstance(value, Mapping):
            return {self.covered(key, depth - 1): self.covered(item, depth - 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.covered(item, depth - 1) for item in value]
        raise ParameterError("messages", f"{shown(value)} is no JSON value", "use text, numbers, lists and objects")

    def mark(self) -> str:
        """A character that nobody typed."""
        return next(self._free)

    def tokenize(self, rendered: str) -> list[int]:
        """The tokens of what the template wrote."""
        if not self._stand_ins:
            return self._vocabulary.tokenize(rendered, parse_special=True)
        ids: list[int] = []
        at = 0
        for token, text in self._specials(rendered):
            start = rendered.find(text, at)
            ids += [*self._plain(rendered[at:start]), token]
            at = start + len(text)
        return ids + self._plain(rendered[at:])

    def _cover(self, text: str) -> str:
        # A private character that somebody typed gets a stand-in as well, or it would turn into another's text.
        text = "".join(self._stand_in(char) if ord(char) in STAND_INS else char for char in text)
        while found := {special for _, special in self._specials(text)}:
            for special in sorted(found, key=len, reverse=True):
                text = text.replace(special, self._stand_in(special))
        return text

    def _stand_in(self, special: str) -> str:
        if special not in self._stand_ins:
            self._stand_ins[special] = next(self._free)
        return self._stand_ins[special]

    def _plain(self, text: str) -> list[int]:
        typed = {ord(stand_in): text for text, stand_in in self._stand_ins.items()}
        return self._vocabulary.tokenize(text.translate(typed)) if text else []

    def _specials(self, text: str) -> Iterator[tuple[int, str]]:
        """The special tokens that a tokenizer would see written in the text, in order."""
        at = 0
        for token in self._vocabulary.tokenize(text, parse_special=True):
            if self._vocabulary.piece(token):
                continue
            special = special_text(self._vocabulary, token)
            # A token for unknown characters is special too, but stands nowhere in the text.
            if special and (start := text.find(special, at)) >= 0:
                yield token, special
                at = start + len(special)
