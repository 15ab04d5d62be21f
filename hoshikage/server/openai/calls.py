"""Calls of functions, as models write them: read out of the text of an answer.

Two shapes are known: marks round calls, any number of them behind text, with `{"name", "arguments"}` (Hermes, Qwen) or
what `markup` reads behind them, and an answer that is nothing but one JSON object `{"name", "parameters"}` (Llama 3).
Text is handed on as it comes, up to where a call may begin; what turns out to be none, or was cut, is text after all.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from hoshikage.server.openai import markup
from hoshikage.server.openai.markup import CLOSE, MARKS, OPEN

__all__ = ["CLOSE", "OPEN", "CallReader", "Reader", "for_template", "n_begun", "new_call"]

ANY_OPEN = re.compile("|".join(map(re.escape, MARKS)))
VISIBLE = re.compile(r"\S")
SPACE = 256  # characters of white space in front of a call that belong to no text
PYTHON_TAG = "<|python_tag|>"  # what Llama 3 may write first


class Reader:
    """Reads an answer in which nothing is a call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def feed(self, text: str) -> str:
        """The next text; returns what is content for certain."""
        return text

    def finish(self) -> str:
        """No more will come; returns what was held back and is content."""
        return ""


class CallReader(Reader):
    """Reads an answer that may hold calls of these functions, which have their names and the schemas of arguments."""

    def __init__(self, offered: Mapping[str, Any]) -> None:
        super().__init__()
        self._offered = offered
        self._held = ""
        self._said_any = False

    def feed(self, text: str) -> str:
        self._held += text
        if not self._said_any and self._may_be_bare():
            return ""
        if opened := ANY_OPEN.search(self._held):
            return self._give(opened.start())
        return self._give(len(self._held) - max(n_begun(self._held, mark) for mark in MARKS))

    def finish(self) -> str:
        text = self._held
        self._held = ""
        if not self._said_any:
            bare = text.strip().removeprefix(PYTHON_TAG)
            if bare.startswith("{") and (calls := self._calls_in(bare)):
                self.calls += calls
                return ""
        return self._read_marked(text)

    def _may_be_bare(self) -> bool:
        """Whether the answer may be a bare object to its end."""
        found = VISIBLE.search(self._held)
        if found is None:
            return len(self._held) <= SPACE
        start = self._held[found.start() : found.start() + len(PYTHON_TAG)]
        return start[0] == "{" or PYTHON_TAG.startswith(start)

    def _give(self, n: int) -> str:
        first = max(0, n - SPACE)
        n = first + len(self._held[first:n].rstrip())
        given, self._held = self._held[:n], self._held[n:]
        self._said_any = self._said_any or bool(given.strip())
        return given

    def _read_marked(self, text: str) -> str:
        """Takes the marked calls; returns the text round them."""
        content = []
        while opened := ANY_OPEN.search(text):
            behind = text[opened.end() :]
            end, rest_at = markup.end_of(opened[0], behind)
            calls = self._calls_in(behind[:end]) or self._written(opened[0], behind[:end], rest_at > end)
            rest = behind[rest_at:]
            content.append(text[: opened.start()].rstrip() if calls else text[: len(text) - len(rest)])
            self.calls += calls
            text = rest.lstrip() if calls else rest
        return "".join([*content, text])

    def _calls_in(self, text: str) -> list[dict[str, Any]]:
        """The calls that are written as JSON; none unless all are of functions that were offered."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return []
        calls = [self._call_of(entry) for entry in (said if isinstance(said, list) else [said])]
        return all_of(calls)

    def _written(self, mark: str, text: str, is_closed: bool) -> list[dict[str, Any]]:
        """Those that are written otherwise."""
        return all_of([new_call(*call) for call in markup.calls_in(mark, text, is_closed, self._offered)])

    def _call_of(self, said: Any) -> dict[str, Any] | None:
        """The call that an object is; None if it is none, or of a function that was not offered."""
        name = said.get("name") if isinstance(said, dict) else None
        if not isinstance(name, str) or name not in self._offered:
            return None
        arguments = said.get("arguments", said.get("parameters"))
        return new_call(name, {} if arguments in (None, "") else arguments)


def all_of(calls: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """The calls; none where one of them is none."""
    return [call for call in calls if call is not None] if None not in calls else []


def new_call(name: str, arguments: Any) -> dict[str, Any] | None:
    """A call as it is told; None where its arguments are no object, or none that every client can read."""
    try:
        known = json.loads(arguments) if isinstance(arguments, str) else arguments
        written = json.dumps(known, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(known, dict):
        return None
    function = {"name": name, "arguments": as_sent(written)}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def as_sent(text: str) -> str:
    """JSON text without half a character, which a model can write as an escape and nobody can send."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def n_begun(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the beginning of a mark."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)


def for_template(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as chat templates expect them: a developer is the system, arguments of earlier calls are objects."""
    return [_for_template(message) for message in messages]


def _for_template(message: dict[str, Any]) -> dict[str, Any]:
    role = "system" if message["role"] == "developer" else message["role"]
    if message.get("reasoning_content") and not (message.get("content") and message.get("tool_calls")):
        message = {"thinking": message["reasoning_content"], **message}  # what gpt-oss's template calls it
    if not isinstance(message.get("tool_calls"), list):
        return {**message, "role": role}
    return {**message, "role": role, "tool_calls": [with_object(call) for call in message["tool_calls"]]}


def with_object(call: Any) -> Any:
    """A call whose arguments are an object and not the text of one."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}
