"""Autoregressive answers: streams made from requests, each token certain as soon as it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hoshikage._causal import CausalSession, Sampler, Stream
from hoshikage.engine.answer import Answer, spoken, stop_ids
from hoshikage.engine.batch import SessionSize, room_for
from hoshikage.engine.request import CausalRequest, check_bias, fitted, options_of, read
from hoshikage.engine.result import Result, Snapshot, Token
from hoshikage.engine.sessions import Sessions
from hoshikage.engine.sizes import SHARED_CELLS, SHARES
from hoshikage.engine.text import TextReader
from hoshikage.errors import ParameterError
from hoshikage.settings import Settings

SCORED_ROWS = 128  # rows that a prompt whose tokens are judged gets in a pass
NOT_OF_THE_SAMPLER = ("max_tokens", "stop", "logprobs", "prompt_logprobs")


@dataclass(slots=True, kw_only=True)
class StreamAnswer(Answer):
    """An answer that a stream writes."""

    request: CausalRequest
    work: Stream
    n_read: int = 0

    @property
    def n_cells(self) -> int:
        return self.n_prompt + min(self.work.share, self.request.max_tokens)

    @property
    def most_cells(self) -> int:
        return self.n_prompt + self.request.max_tokens

    @property
    def paused(self) -> bool:
        return self.work.paused

    @property
    def n_streams(self) -> int:
        return 1

    @property
    def n_rows(self) -> int:
        return min(self.n_prompt, SCORED_ROWS) if self.work.score_prompt else 1

    @property
    def ends_early(self) -> bool:
        return bool(self.request.stop)  # tokens that end it are the stream's business

    @property
    def progress(self) -> tuple[int, int]:
        return self.n_read, self.request.max_tokens

    def read(self) -> str:
        tokens = self.work.tail(self.n_read)
        self.n_read += len(tokens)
        return self.reader.feed(tokens)

    def logprobs(self, lo: int) -> list[float]:
        return self.work.logprobs[lo : len(self.reader.tokens)]

    def top(self, number: int) -> list[tuple[int, float]]:
        return self.work.top(number)

    def told_prompt(self) -> tuple[Token, ...]:
        n_top = self.request.prompt_logprobs
        if n_top is None:
            return ()
        stream = self.work
        pairs = zip(stream.prompt, stream.prompt_logprobs, strict=False)  # a cancel may have come before all was read
        return tuple(
            self._token(token, logprob, stream.top(number - stream.n_prompt)[:n_top])
            for number, (token, logprob) in enumerate(pairs)
        )

    def confidence(self) -> list[float]:
        return [math.exp(logprob) for logprob in self.logprobs(0)]

    def snapshot(self, delta: str, result: Result | None = None) -> Snapshot:
        return self._snapshot(delta, result, self.reader.tokens)

    def result(self, cancelled: bool) -> Result:
        stream = self.work
        if stream.error is not None:
            raise stream.error
        # The last token of a stream is never put in.
        n_rows = stream.n_prompt_computed + max(0, stream.n_tokens - 1)
        return self._result(cancelled, n_passes=stream.n_passes, n_rows=n_rows)


class Writer:
    """How an autoregressive model answers. What the cache holds of a prompt's beginning is not computed again."""

    def __init__(self, model: Any, settings: Settings) -> None:
        self._model = model
        self._settings = settings
        self._sessions = Sessions(model, settings, CausalSession)
        self._eog_ids = model.eog_ids
        self._piece = spoken(model)

    def prepare(self, index: int, ids: Sequence[int], options: Mapping[str, object]) -> StreamAnswer:
        """A prompt to be continued, at most to where the context ends."""
        model = self._model
        if not ids:
            raise ParameterError(
                "prompt", "it is empty, and this model begins no text by itself", "give it one to go on"
            )
        request, warnings = read(CausalRequest, options, self._settings)
        request, more = fitted(request, len(ids), self._sessions.n_ctx, options)
        check_bias(request, model.n_vocab)
        ends = stop_ids(model, self._eog_ids, request.stop)
        return StreamAnswer(
            index=index,
            request=request,
            warnings=warnings + more,
            n_prompt=len(ids),
            reader=TextReader(self._piece, stop_ids=ends, stops=request.stop),
            piece=self._piece,
            work=Stream(
                ids,
                max_tokens=request.max_tokens,
                sampler=sampler_of(request),
                stop_ids=ends,
                n_top=request.n_top,
                score_prompt=request.prompt_logprobs is not None,
                share=SHARES["causal"],
            ),
        )

    def room(self, answers: Sequence[Answer], n_together: int) -> SessionSize:
        """A session's size for these, so many of them side by side."""
        room = room_for(answers, n_together, SHARED_CELLS["causal"], self._sessions.rows_for)
        # One at a time may have its prompt judged; the others take a row each.
        n_rows = max(answer.n_rows for answer in answers) + n_together - 1
        return replace(room, n_rows=n_rows, n_longest=room.n_cells)

    def open(self, room: SessionSize) -> CausalSession:
        """A session of this size, with as many sequences as there may ever be.

        What one of them leaves in the cache serves a later prompt.
        """
        return self._sessions.open(room.n_cells, self._settings.n_seq, max(room.n_rows, self._settings.n_seq))

    def close(self) -> None:
        """Give the context's memory back."""
        self._sessions.close()


def sampler_of(request: CausalRequest) -> Sampler:
    """llama.cpp's samplers as the request wants them; the names are the same."""
    names = [option.name for option in options_of(CausalRequest) if option.name not in NOT_OF_THE_SAMPLER]
    return Sampler(**{name: getattr(request, name) for name in names})
