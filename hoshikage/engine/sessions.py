"""One session at a time, as large as the work needs: a context's memory is taken when a request asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from hoshikage.engine.sizes import rounded_up, rows_of_pass
from hoshikage.errors import ContextOverflowError
from hoshikage.settings import Settings

UNBOUNDED = 2**24  # positions, for a model that does not say how many it was trained with


class SizedModel(Protocol):
    """What a session's size depends on."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def n_ctx_train(self) -> int: ...


class Closing(Protocol):
    """What a session is here: something that can be closed."""

    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...


OneSession = TypeVar("OneSession", bound=Closing)


class Sessions(Generic[OneSession]):
    """Keeps one session open and opens a larger one when the next request does not fit into it."""

    def __init__(self, model: SizedModel, settings: Settings, kind: Callable[..., OneSession]) -> None:
        self._model = model
        self._settings = settings
        self._kind = kind
        self._session: OneSession | None = None
        self._size = (0, 0, 0, 0)

    @property
    def n_ctx(self) -> int:
        """Tokens that one request may have, prompt and answer together."""
        return self._settings.n_ctx or self._model.n_ctx_train or UNBOUNDED

    def open(self, n_ctx: int, n_seq: int, n_rows: int, n_tokens: int = 0) -> OneSession:
        """A session of at least these sizes: positions and streams over all work; of one pass the rows and the
        positions (0: all)."""
        needed = (rounded_up(n_ctx), n_seq, n_rows, rounded_up(n_tokens or n_ctx))
        if self._session is None or any(have < need for have, need in zip(self._size, needed, strict=True)):
            n_ctx, n_seq, n_rows, n_tokens = (max(pair) for pair in zip(self._size, needed, strict=True))
            self.close()
            self._session = self._opened(n_ctx, n_seq, n_rows, n_tokens)
            self._size = (n_ctx, n_seq, n_rows, n_tokens)
        return self._session

    def apart(self, n_ctx: int, n_rows: int) -> OneSession:
        """A small session beside the one that is kept, for a measurement; whoever asks for it closes it."""
        return self._opened(n_ctx, 1, n_rows, n_ctx)

    def check_fits(self, n_tokens: int) -> None:
        """Raises ContextOverflowError when no request may be so long."""
        if n_tokens > self.n_ctx:
            raise ContextOverflowError(n_tokens, self.n_ctx)

    def rows_for(self, n_positions: int) -> int:
        """How many rows a pass over so many positions should return: all, unless their logits get too large."""
        return max(1, min(n_positions, rows_of_pass(self._model.n_vocab)))

    def close(self) -> None:
        """Give the context's memory back."""
        if self._session is not None:
            self._session.close()
        self._session, self._size = None, (0, 0, 0, 0)

    def _opened(self, n_ctx: int, n_seq: int, n_rows: int, n_tokens: int) -> OneSession:
        settings = self._settings
        return self._kind(
            self._model,
            n_ctx=n_ctx,
            n_seq=n_seq,
            n_threads=settings.n_threads,
            n_threads_batch=settings.n_threads_batch,
            flash_attn=settings.flash_attn,
            type_k=settings.type_k,
            type_v=settings.type_v,
            n_rows=n_rows,
            **({"n_tokens": n_tokens} if n_tokens < n_ctx else {}),
        )
