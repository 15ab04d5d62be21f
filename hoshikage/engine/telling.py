"""How a conversation is told to a chat template: as it takes it, where many take less than clients send."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any

from hoshikage.errors import TemplateRefusal

Turns = Sequence[dict[str, Any]]
LEADING = ("system", "developer")  # roles that say what the model is to be like
N_ID = 9  # characters of the ids of calls that Mistral's templates take, which look whether there are so many
ASKS_FOR_SHORT_IDS = re.compile(rf"""id(?:["']\])?\s*\|\s*length\s*\)?\s*[!=]=\s*{N_ID}\b""")
SHORT_ID = re.compile(rf"[0-9A-Za-z]{{{N_ID}}}")


def told(template: str, render: Callable[[Turns], str], turns: Turns) -> str:
    """The conversation in the first way that the template takes; where it takes none, raises what it said first."""
    refusals = []
    for way in tellings(template, turns):
        try:
            return render(way)
        except TemplateRefusal as refusal:
            refusals.append(refusal)
    raise refusals[0]


def tellings(template: str, turns: Turns) -> Iterator[Turns]:
    """A conversation as it is, and then in the ways of templates that refuse that."""
    turns = one_opening(turns)
    if ASKS_FOR_SHORT_IDS.search(template):
        turns = [with_short_ids(turn) for turn in turns]
    ways = [turns]
    yield turns
    for change in (said_by_the_user, with_written_arguments):
        for changed in [change(way) for way in ways]:
            if changed not in ways:
                ways.append(changed)
                yield changed


def one_opening(turns: Turns) -> Turns:
    """The messages of the system that come first as one: many templates know no second, or only read the last."""
    opening = list(takewhile(lambda turn: turn["role"] in LEADING, turns))
    return [joined(opening), *turns[len(opening) :]] if len(opening) > 1 else turns


def said_by_the_user(turns: Turns) -> Turns:
    """What the system says later as the user's words, in one message with his own: templates may alternate."""
    told_by = ["user" if i and turn["role"] in LEADING else turn["role"] for i, turn in enumerate(turns)]
    runs = groupby(({**turn, "role": role} for turn, role in zip(turns, told_by, strict=True)), itemgetter("role"))
    return [turn for role, run in runs for turn in ([joined(list(run))] if role == "user" else run)]


def joined(turns: Turns) -> dict[str, Any]:
    """Several messages as one, with a blank line between them."""
    return {**turns[0], "content": "\n\n".join(turn["content"] for turn in turns if turn["content"])}


def with_short_ids(turn: dict[str, Any]) -> dict[str, Any]:
    """A message in which the ids of calls are as short as Mistral's own."""
    if "tool_call_id" in turn:
        turn = {**turn, "tool_call_id": short(turn["tool_call_id"])}
    return with_calls(turn, lambda call: {**call, "id": short(call["id"])} if "id" in call else call)


def with_written_arguments(turns: Turns) -> Turns:
    """The arguments of calls as text, which templates that put them together with other text need (DeepSeek's)."""
    return [with_calls(turn, with_text) for turn in turns]


def with_text(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call whose arguments are the text of an object."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), Mapping):
        return call
    written = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": written}}


def with_calls(turn: dict[str, Any], change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> dict[str, Any]:
    """A message with its calls changed; what is no call stays as it is."""
    calls = turn.get("tool_calls")
    if not isinstance(calls, (list, tuple)):
        return turn
    return {**turn, "tool_calls": [change(call) if isinstance(call, Mapping) else call for call in calls]}


def short(name: Any) -> Any:
    """An id, or what always stands for it."""
    if not isinstance(name, str) or SHORT_ID.fullmatch(name):
        return name
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:N_ID]
