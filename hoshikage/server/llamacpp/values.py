"""Checks of what only llama-server's clients send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hoshikage.checks import Check, Shape, Text, TokenBias, shown
from hoshikage.errors import ParameterError
from hoshikage.server.openai.values import table_of

BIAS = TokenBias(1024)
NEVER = -1e6  # nothing is so likely that this would not keep it from being written
CHUNK_NAME, CHUNK_TEXT = Text(4096), Text(2**24)
PLACE = Text(256)


class Bias(Check[tuple[tuple[int, float], ...]]):
    """Pairs of a token id and what is added to its logit, or false for a token that is never written."""

    shape: ClassVar[Shape] = {"anyOf": [{"type": "array"}, {"type": "object"}]}

    def check(self, name: str, value: object) -> tuple[tuple[int, float], ...]:
        if not isinstance(value, list):
            return BIAS.check(name, value)
        pairs = {}
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not int:
                raise ParameterError(name, f"{shown(pair)} is no pair of a token id and a number", "send [[id, bias]]")
            pairs[pair[0]] = NEVER if pair[1] is False else pair[1]
        return BIAS.check(name, pairs.items())


@dataclass(frozen=True, slots=True)
class Places(Check[list[str]]):
    """Places in an answer, by the names that lead there: timings/predicted_n. One that leads nowhere is no mistake."""

    shape: ClassVar[Shape] = {"type": "array", "items": {"type": "string"}}

    most: int

    def check(self, name: str, value: object) -> list[str]:
        if not isinstance(value, list) or len(value) > self.most:
            raise ParameterError(name, f"{shown(value)} is no list of places", f"send at most {self.most} names")
        return [PLACE.check(f"{name}[{i}]", place) for i, place in enumerate(value)]


@dataclass(frozen=True, slots=True)
class Chunks(Check[list[dict[str, str]]]):
    """Pieces of other files: [{filename, text}, ...]."""

    shape: ClassVar[Shape] = {"type": "array", "items": {"type": "object"}}

    most: int

    def check(self, name: str, value: object) -> list[dict[str, str]]:
        if not isinstance(value, list):
            raise ParameterError(name, f"{shown(value)} is not a list", "send [{filename, text}, ...]")
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} pieces are too many", f"send at most {self.most}")
        return [self._chunk(f"{name}[{i}]", chunk) for i, chunk in enumerate(value)]

    def _chunk(self, name: str, value: object) -> dict[str, str]:
        chunk = table_of(name, value, ())
        title = chunk.get("filename")
        text = CHUNK_TEXT.check(f"{name}.text", chunk.get("text"))
        return {"filename": "" if title is None else CHUNK_NAME.check(f"{name}.filename", title), "text": text}
