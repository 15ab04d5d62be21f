"""Probabilities of tokens, in the two shapes that OpenAI has given them.

On a diffusion model they are those at the step in which a token was settled.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hoshikage.errors import ParameterError
from hoshikage.worker.ask import Answered, Said, Token

DECODER = codecs.getincrementaldecoder("utf-8")
MOST = 1 << 20  # tokens and alternatives in one answer: a third of a gigabyte while it is written


def text_of(piece: bytes) -> str:
    """The text of a token; of a part of a character its bytes, as OpenAI writes them."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def check_size(options: Mapping[str, Any], n_answers: int, n_ctx: int) -> None:
    """Refuses an answer that would be nearly all probabilities; who asks for as many tokens as there come is let in."""
    n_tokens, n_top = options.get("max_tokens"), options.get("logprobs")
    if n_tokens is None or n_top is None:
        return
    n = n_answers * min(n_tokens, n_ctx) * (1 + n_top)
    if n > MOST:
        cause = f"{n_answers} x {min(n_tokens, n_ctx)} tokens with {n_top} alternatives each are too many probabilities"
        raise ParameterError("max_tokens", cause, f"ask for fewer tokens, answers or alternatives: {MOST} in all")


def as_chat(tokens: Iterable[Token]) -> dict[str, Any]:
    """`choices[].logprobs` of a chat."""
    return {"content": [chat_token(token) for token in tokens], "refusal": None}


def chat_token(token: Token) -> dict[str, Any]:
    top = [chat_entry(piece, logprob) for _, piece, logprob in token.top]
    return chat_entry(token.piece, token.logprob) | {"top_logprobs": top}


def chat_entry(piece: bytes, logprob: float) -> dict[str, Any]:
    return {"token": text_of(piece), "logprob": logprob, "bytes": list(piece)}


class Places:
    """Where in their text tokens begin, of which several may share a character."""

    def __init__(self) -> None:
        self._decoder = DECODER("replace")
        self._n = 0  # characters of all tokens

    def of(self, piece: bytes) -> int:
        """Where the next token begins."""
        n = len(self._decoder.decode(piece))
        # What is more than its own began before it: bytes of a character that it did not complete.
        begins = self._n + max(0, n - len(DECODER("replace").decode(piece)))
        self._n += n
        return begins


class Written:
    """Hands tokens on once the text that they begin with has been told: of a stop string none is."""

    def __init__(self) -> None:
        self._places = Places()
        self._held: deque[tuple[int, Token]] = deque()  # where each begins
        self._n_told = 0

    def take(self, event: Said | Answered) -> list[Token]:
        """Those that are certain now; of an answer that no stop string ended, at its end all."""
        self._held += ((self._places.of(token.piece), token) for token in event.tokens)
        self._n_told += len(event.delta)
        whole = isinstance(event, Answered) and not event.stopped_by
        given = []
        while self._held and (whole or self._held[0][0] < self._n_told):
            given.append(self._held.popleft()[1])
        return given


class LegacyLogprobs:
    """`choices[].logprobs` of a completion, piece by piece: offsets go on where the last piece ended."""

    def __init__(self) -> None:
        self._places = Places()

    def take(self, tokens: Sequence[Token], *, opens: bool = False) -> dict[str, Any]:
        """The next tokens; the first one of a prompt follows nothing, so it has no probability."""
        rows: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for i, token in enumerate(tokens):
            known = not (opens and i == 0)
            rows["tokens"].append(text_of(token.piece))
            rows["token_logprobs"].append(token.logprob if known else None)
            rows["top_logprobs"].append({text_of(piece): logprob for _, piece, logprob in token.top} if known else None)
            rows["text_offset"].append(self._places.of(token.piece))
        return rows
