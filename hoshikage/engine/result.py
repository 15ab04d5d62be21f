"""What an engine gives back: a result for each prompt, and snapshots on the way there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

StopReason = Literal["stop", "length", "cancelled"]
MASK = "░"  # how a view shows a masked position
BROKEN = "·"  # and a byte of no whole character


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What an answer took."""

    n_prompt: int  # tokens of the prompt, fixed text behind the answer included
    n_tokens: int  # tokens of the answer
    n_passes: int  # forward passes that this answer was part of
    n_rows: int  # positions computed in them
    n_warm: int = 0  # of those passes, the ones that left nothing to the cache that a diffusion plan wants fresh
    seconds: float  # from the request's start to its end, waiting for its turn in a batch included

    @property
    def tokens_per_pass(self) -> float:
        """1 for an autoregressive model; what a diffusion model gains by settling several at once."""
        return self.n_tokens / self.n_passes if self.n_passes else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of the answer, its prompt's time included."""
        return self.n_tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token with the logarithm of its probability: in a canvas, at the step that settled it.

    It is the model's own probability, of all tokens, whatever temperature and cuts the token was drawn with (but for
    Dream's algorithms, which score what those leave).
    """

    id: int
    piece: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()  # the likeliest at that place, the surest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer.

    `stop_reason` is "stop" (the model ended it, or a stop string did), "length" (it filled its canvas or its
    `max_tokens`) or "cancelled". `tokens` end before the end-of-text token, or with the token that completed
    a stop string. `canvas` holds every token of a diffusion model's canvas, prompt included.
    """

    text: str
    tokens: tuple[int, ...]
    stop_reason: StopReason
    counts: Counts
    seed: int
    stopped_by: str = ""  # the stop string that ended it, where one did
    warnings: tuple[str, ...] = ()
    how: str = ""  # a diffusion model's canvas was decoded: algorithm, schedule, blocks and plan in words
    canvas: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[Token, ...] = field(default=(), repr=False)  # of the answer, when they were asked for
    prompt_logprobs: tuple[Token, ...] = field(default=(), repr=False)  # and of the prompt; NaN for its first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One answer at one moment.

    `delta` is text that is certain now and was not in the snapshot before: the deltas put together are the
    result's text. `tokens` are those of the answer so far, `pieces` their bytes; of a diffusion model's canvas
    all, None where nothing is settled yet.
    """

    index: int  # of the prompt among those of the call
    delta: str
    step: int
    n_steps: int
    tokens: tuple[int | None, ...] = field(default=(), repr=False)
    pieces: tuple[bytes | None, ...] = field(default=(), repr=False)
    result: Result | None = None  # in the last snapshot of each answer

    @property
    def cells(self) -> tuple[str | None, ...]:
        """The text at each position, None where it is masked: whole characters, each at its first position."""
        return cells_of(self.pieces)

    def view(self, mask: str = MASK) -> str:
        """The cells as one string."""
        return "".join(mask if cell is None else cell for cell in self.cells)


def cells_of(pieces: Sequence[bytes | None]) -> tuple[str | None, ...]:
    """The text of each settled position, from the bytes of its token.

    A character whose bytes several neighbours hold stands at the first of them, the others are empty; while
    one of them is masked, the bytes at hand are shown as a dot.
    """
    cells: list[str | None] = [None if piece is None else "" for piece in pieces]
    for lo, hi in settled_runs(pieces):
        raw = b"".join(piece or b"" for piece in pieces[lo:hi])
        owners = [i for i in range(lo, hi) for _ in pieces[i] or b""]
        text = raw.decode("utf-8", "surrogateescape")
        at = 0
        for character in text:
            cells[owners[at]] = (cells[owners[at]] or "") + (BROKEN if is_escaped(character) else character)
            at += 1 if is_escaped(character) else len(character.encode())
    return tuple(cells)


def is_escaped(character: str) -> bool:
    """A byte that is part of no character, as `surrogateescape` puts it."""
    return "\udc80" <= character <= "\udcff"


def settled_runs(pieces: Sequence[bytes | None]) -> list[tuple[int, int]]:
    """The runs [lo, hi) of positions that hold something."""
    held = [False, *(piece is not None for piece in pieces), False]
    edges = [i for i in range(len(pieces) + 1) if held[i] != held[i + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))
