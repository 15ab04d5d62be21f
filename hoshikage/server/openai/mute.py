"""Answers of no tokens: a prompt is read, cached and judged, and nothing is written behind it.

The engine writes one token at the least; nobody is told of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hoshikage.server.fields import Given
from hoshikage.server.reply import Form
from hoshikage.worker.ask import Answered, Said


def wants_none(given: Given) -> bool:
    return given.options.get("max_tokens") == 0


def muted(form: Form, given: Given) -> Form:
    """The form of an answer, told of no token where none is wanted."""
    return Mute(form) if wants_none(given) else form


class Mute:
    """A form that is told of nothing but the prompt and the end."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.opening = form.opening
        self.closing = form.closing
        self.whole = form.whole
        self.single = form.single

    def said(self, event: Said) -> Iterator[Any]:
        """Of a token that nobody wanted."""
        del event
        return iter(())

    def answered(self, event: Answered) -> Iterator[Any]:
        """That the prompt has been read."""
        nothing = replace(event, delta="", text="", tokens=(), stop_reason="length", stopped_by="")
        return self._form.answered(replace(nothing, counts={**event.counts, "n_tokens": 0}))
