"""How a conversation is told to a chat template: as it takes it, where many take less than clients send."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any

from hoshikage.errors import TemplateRefusal

Turns = Sequence[dict[str, Any]]
LEADING = ("system", "developer")  # roles that say what the model is to be like


def told(render: Callable[[Turns], str], turns: Turns) -> str:
    """The conversation in the first way that the template takes; where it takes none, raises what it said first."""
    refusals = []
    for way in tellings(turns):
        try:
            return render(way)
        except TemplateRefusal as refusal:
            refusals.append(refusal)
    raise refusals[0]


def tellings(turns: Turns) -> Iterator[Turns]:
    """A conversation as it is, and then in the ways of templates that refuse that."""
    turns = one_opening(turns)
    yield turns
    if any(turn["role"] in LEADING for turn in turns[1:]):
        yield said_by_the_user(turns)


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
