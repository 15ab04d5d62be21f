"""Autoregressive streams in tests: sessions as exact as the hardware allows, and the tokens an argmax loop writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hoshikage._causal import CausalSession, Sampler, Stream
from hoshikage._core import Model
from tests.forward import forward
from tests.margin import Margin

EXACT: dict[str, Any] = {"flash_attn": "off", "type_k": "f32", "type_v": "f32", "n_threads": 1}
NEAR_TIE = 1e-4  # of the largest logit: what the engine's logits may err by


@cache
def load(path: Path) -> Model:
    """The model of a tiny file, loaded once; the processor computes it."""
    return Model(path, n_gpu_layers=0)


def open_session(path: Path, **options: Any) -> CausalSession:
    return CausalSession(load(path), **{**EXACT, "n_ctx": 512, **options})


def finish(session: CausalSession, *streams: Stream) -> None:
    """Run until these have ended; they are added first where they are not at work, each when there is room."""
    for stream in streams:
        if stream not in session.streams and not stream.done:
            while not session.has_room(stream):
                session.run()
            session.add(stream)
    while not all(stream.done for stream in streams):
        session.run()


def write(session: CausalSession, prompt: Sequence[int], n: int = 8, **settings: Any) -> Stream:
    """`n` tokens behind a prompt, whatever they are."""
    stream = Stream(prompt, max_tokens=n, sampler=Sampler(**settings), stop_ids=[])
    finish(session, stream)
    return stream


def alone(path: Path, prompt: Sequence[int], n: int = 8, **settings: Any) -> list[int]:
    """The same in a session that has nothing in its cache and nobody else in it."""
    with open_session(path) as session:
        return write(session, prompt, n, **settings).tokens


def best_tokens(path: Path, prompt: Sequence[int], n: int) -> tuple[list[int], list[float], float]:
    """The argmax loop over the independent forward pass: tokens, their log-probabilities, the narrowest decision."""
    tokens, logprobs, margin = list(prompt), [], Margin()
    for _ in range(n):
        row = forward(path, tokens)[-1]
        best = int(np.argmax(row))
        margin.spread = float(np.abs(row).max())
        margin.absolute(row[best], np.delete(row, best))
        logprobs.append(float(row[best] - row.max() - np.log(np.sum(np.exp(row - row.max())))))
        tokens.append(best)
    return tokens[len(prompt) :], logprobs, margin.least


def random_ids(seed: int, n: int, n_vocab: int = 250) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, n_vocab, n)]
