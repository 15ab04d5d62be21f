"""Text with gaps: what a template is, and the canvas that it becomes.

    ["Dear ", 8, ", thank you for ", [2, 32], "."]

Text is given; a number is a gap of so many tokens; a pair is one of at least and at most so many, for models that find
the length themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hoshikage.checks import Text, Whole, shown
from hoshikage.engine.request import MAX_TOKENS
from hoshikage.errors import ParameterError

MOST_PARTS = 256
PART = Text(1 << 24)
START = 4  # masks that stand for a gap of unknown length at first, as in DreamOn's code
LENGTH = Whole(1, MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap, by the tokens that it may have."""

    least: int
    most: int

    @property
    def is_fixed(self) -> bool:
        return self.least == self.most

    @property
    def n_start(self) -> int:
        """How many masks stand for it at first."""
        return min(max(self.least, START), self.most)


Piece: TypeAlias = Sequence[int] | Gap | None  # given tokens, or a gap; None: as long as `max_tokens` says


@dataclass(slots=True)
class Layout:
    """A canvas before anything is settled."""

    tokens: list[int] = field(default_factory=list)
    gaps: list[tuple[int, int, int, int]] = field(default_factory=list)  # lo, hi, least and most length, see `Elastic`

    @property
    def n_more(self) -> int:
        """Positions that the gaps may come to have beside those they have."""
        return sum(most - (hi - lo) for lo, hi, _, most in self.gaps)

    @property
    def lo(self) -> int:
        """Where the first gap starts."""
        return self.gaps[0][0]

    @property
    def hi(self) -> int:
        """Where the last one ends."""
        return self.gaps[-1][1]


def laid_out(pieces: Sequence[Sequence[int] | Gap], mask_id: int) -> Layout:
    """Pieces one after the other, masks where there are gaps."""
    layout = Layout()
    for piece in pieces:
        if isinstance(piece, Gap):
            lo = len(layout.tokens)
            layout.gaps.append((lo, lo + piece.n_start, piece.least, piece.most))
            layout.tokens += [mask_id] * piece.n_start
        else:
            layout.tokens += piece
    return layout


def gap_of(name: str, value: object) -> Gap:
    """A number, or a pair of the least and the most."""
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ParameterError(name, f"{shown(value)} is no range", "give the least and the most: [2, 32]")
        least, most = Whole(0, MAX_TOKENS).check(name, value[0]), LENGTH.check(name, value[1])
        if least > most:
            raise ParameterError(name, f"{least} is more than {most}", "give the least first: [2, 32]")
        return Gap(least, most)
    length = LENGTH.check(name, value)
    return Gap(length, length)


def template_pieces(template: object, tokens_of: Callable[[str, bool], list[int]]) -> list[Piece]:
    """The pieces of a template; `tokens_of(text, opens)` has a text's tokens, whether it opens the canvas."""
    parts = template_parts("template", template)
    pieces: list[Piece] = [tokens_of(part, i == 0) if isinstance(part, str) else part for i, part in enumerate(parts)]
    return pieces if isinstance(parts[0], str) else [tokens_of("", True), *pieces]


def template_parts(name: str, template: object) -> list[str | Gap]:
    """The texts and the gaps of a template."""
    if not isinstance(template, (list, tuple)):
        raise ParameterError(name, f"{shown(template)} is no template", 'give a list such as ["Dear ", 8, "!"]')
    if len(template) > MOST_PARTS:
        raise ParameterError(name, f"{len(template)} parts are too many", f"use at most {MOST_PARTS}")
    parts = [(PART.check if isinstance(part, str) else gap_of)(f"{name}[{i}]", part) for i, part in enumerate(template)]
    if not any(isinstance(part, Gap) for part in parts):
        raise ParameterError(name, "it has no gap", "put a number where text is wanted")
    return parts
