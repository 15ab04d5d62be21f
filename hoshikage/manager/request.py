"""A job in the manager's hands: from the moment it is let in until it has been told its last event.

All but `cancel` belongs to the manager's thread; what its worker says arrives on the worker's thread and goes through
the outlet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hoshikage.errors import HoshikageError
from hoshikage.manager.job import Job, Tell, Ticket
from hoshikage.manager.outlet import Outlet
from hoshikage.manager.timers import Timer
from hoshikage.registry import Model
from hoshikage.worker.ask import LIGHT, Answered, Done, Event, Failed, Loading, Waiting


class Request:
    """One job, and the ticket for it."""

    def __init__(
        self, number: int, job: Job, model: Model, tell: Tell, arrived: float, on_cancel: Callable[[Request], object]
    ) -> None:
        self.number = number  # in order of arrival
        self.job = job
        self.model = model
        self.arrived = arrived
        self.ticket: Ticket | None = None  # the worker's ticket, once it has begun
        self.is_cancelled = False
        self.went_well = False  # what its worker said last
        self.wait_timer: Timer | None = None
        self.time_timer: Timer | None = None
        self.grace_timer: Timer | None = None
        self._n_ahead_told: int | None = None
        self._progress_told = 0.0
        self._outlet = Outlet(tell, self.cancel)
        self._on_cancel = on_cancel

    @property
    def key(self) -> str:
        return self.job.key

    @property
    def is_light(self) -> bool:
        return self.job.ask.kind in LIGHT

    def cancel(self) -> None:
        """End it with what is there: safe from any thread, at any time, and more than once."""
        self._on_cancel(self)

    @property
    def timers(self) -> tuple[Timer | None, ...]:
        return self.wait_timer, self.time_timer, self.grace_timer

    def put(self, event: Event) -> None:
        """Tell whoever asked; safe from any thread."""
        self._outlet.put(event)

    def fail(self, error: HoshikageError) -> None:
        self.put(Failed(error=error.anew()))  # others may be told the same, and each raises it

    def tell_place(self, n_ahead: int) -> None:
        """How many stand before it: at first, and each time that they have become half as many."""
        told = self._n_ahead_told
        if told is None or (n_ahead < told and 2 * n_ahead <= told):
            self._n_ahead_told = n_ahead
            self.put(Waiting(n_ahead=n_ahead))

    def tell_progress(self, progress: float) -> None:
        """How far its model is loaded, for each hundredth; less than before, when the load begins anew."""
        if progress >= self._progress_told + 0.01 or progress < self._progress_told:
            self._progress_told = progress
            self.put(Loading(progress=progress))


def relay(request: Request, notes: tuple[str, ...], on_end: Callable[[], object]) -> Tell:
    """What a worker is given as `tell`: adds what a client should know of the load, and reports the end first.

    What an answer took is counted here, for whoever asked may hear no more: it was computed all the same.
    """

    def tell(event: Event) -> None:
        if isinstance(event, Done | Failed):
            request.went_well = isinstance(event, Done)
            on_end()
        elif isinstance(event, Answered):
            request.job.count(event.counts)
            event = replace(event, warnings=(*event.warnings, *notes)) if notes else event
        request.put(event)

    return tell
