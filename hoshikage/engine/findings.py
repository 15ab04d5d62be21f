"""What is found out about a model's passes when somebody needs to know it: proved and measured, each once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

from hoshikage._board import Board
from hoshikage._core import Session
from hoshikage._raw import PROOF_LENGTH, fault_of_block_passes
from hoshikage.engine import curve
from hoshikage.engine.curve import Times
from hoshikage.engine.quality import BLOCK_LENGTH, Curve
from hoshikage.engine.sessions import Sessions
from hoshikage.errors import Cancelled
from hoshikage.settings import Settings

T = TypeVar("T")
Does: TypeAlias = Callable[[Callable[[], Any]], Any]  # runs a function where passes may be computed

PROOF_CTX = 256  # positions of the session that block passes are tried in
TOLD = 5.0  # seconds of waiting that somebody is told of

log = logging.getLogger(__name__)


class Findings:
    """`does` runs one thing after the other, and others' passes between them: no measurement keeps those waiting.

    Raises Cancelled when the board says so; what was asked for is then found out when it is asked for again.
    """

    def __init__(self, model: Any, settings: Settings, sessions: Sessions[Session], does: Does) -> None:
        self._model = model
        self._settings = settings
        self._sessions = sessions
        self._does = does
        self._fault: tuple[str | None] | None = None  # None: not tried yet
        self._curve: Curve | None = None

    def block_fault(self, board: Board | None = None) -> str | None:
        """Why a pass over a block alone cannot be used; proved on a small case, before the first that would use it."""
        if self._fault is None:
            fault = self._does(partial(self._proved, board))
            if fault is not None:
                log.warning(
                    "a block alone cannot be computed (%s): the plans dual and vicinity become window, and the quality "
                    "fast takes another than dual", fault
                )  # fmt: skip
            self._fault = (fault,)
        return self._fault[0]

    def curve(self, board: Board | None = None) -> Curve:
        """What passes cost here: from an earlier load of this model on this machine, or measured now.

        One that is not certain is used until the model is loaded again, and then measured further.
        """
        if self._curve is None:
            path = curve.place_of(self._model, self._settings)
            times = curve.stored(path)
            if times is None or not times.certain:
                times = self._measured(times or Times(), board, partial(curve.store, path))
            self._curve = times.curve
        return self._curve

    def _proved(self, board: Board | None) -> str | None:
        with self._sessions.apart(PROOF_CTX, PROOF_LENGTH) as session:
            return fault_of_block_passes(session, board)

    def _measured(self, before: Times, board: Board | None, keep: Callable[[Times], None]) -> Times:
        times, another = before, partial(self._does, partial(self._round, board))
        try:
            for n_rounds, times in enumerate(curve.measured(another, before)):
                if n_rounds == 0:
                    tell_of_wait(times)
        finally:
            if times.n_rounds > 0:
                keep(times)
        if not times.certain:
            log.warning(
                "what a pass costs is not certain: the machine was busy, or too slow to measure it often enough; "
                "the next load goes on with it"
            )
        return times

    def _round(self, board: Board | None) -> list[float]:
        with self._sessions.apart(curve.N_CTX, BLOCK_LENGTH) as session:
            return curve.one_round(session, self._model.n_vocab, board)


def tell_of_wait(times: Times) -> None:
    """Where the first round says that measuring takes its time, say so: a load that is silent looks like one that
    hangs."""
    seconds = sum(of_size[0] for of_size in times.shortest.values()) * (curve.ALIKE - times.n_rounds)
    if seconds > TOLD:
        log.warning(
            "measuring what a pass costs takes about %d s; that is kept for this model on this machine",
            min(seconds, curve.LONGEST),
        )


def unless_cancelled(find: Callable[[], T], otherwise: T) -> T:
    """What is found out; `otherwise` for a request that was cancelled meanwhile, whose answer begins no pass."""
    try:
        return find()
    except Cancelled:
        return otherwise
