"""Who looks after requests: from the line to a worker, and to their end. `keeper` looks after the models.

Belongs to the manager's thread. It knows neither threads nor clocks itself, so that a test can be both.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from hoshikage.errors import Cancelled, HoshikageError, InternalError, Stopping, TookTooLong, WaitedTooLong, WorkerDied
from hoshikage.manager.keeper import PATIENCE, Keeper, Means
from hoshikage.manager.place import Phase, Place
from hoshikage.manager.queue import Gate
from hoshikage.manager.request import Request, relay
from hoshikage.settings import Settings

LAST = 30.0  # seconds after which a stop waits for nothing any more

log = logging.getLogger(__name__)


class Steward:
    """All requests that were let in and have not been told their end, and where each of them is."""

    def __init__(self, settings: Settings, means: Means, gate: Gate) -> None:
        self.keeper = Keeper(settings, means, self.changed, tell_progress, self.refused)
        self.n_begun = self.n_done = self.n_failed = self.n_cancelled = 0
        self.moved_at = self._begun_at = means.now()
        self.is_over = False  # nothing is in memory and nothing will be
        self._settings = settings
        self._means = means
        self._gate = gate
        self._alive: dict[Request, Place] = {}
        self._ending = False  # nobody is let in any more
        self._ended = False  # and those who were have been told

    # -- what comes in from outside

    def submitted(self, request: Request, identity: Any) -> None:
        """A request was let in."""
        place = self.keeper.place_of(request.model, identity)
        if not place.is_working:
            place.moved_at, place.n_overtaken = self._means.now(), 0
        self._alive[request] = place
        place.line.add(request)
        self._set_deadlines(request)
        if self._ended:
            self._end(request, Stopping())
        elif place.failure and place.refuses(self._means.now()):
            self._end(request, place.failure.error)
        elif request.is_light and place.is_serving and place.n_light < self._settings.max_waiting:
            place.line.remove(request)
            self._hand_over(place, request)
        self.changed(place)
        if request in self._alive and request.ticket is None:
            tell_newcomer(place, request)

    def cancelled(self, request: Request) -> None:
        """Whoever asked does not want it any more."""
        if request not in self._alive or request.is_cancelled:
            return
        request.is_cancelled = True
        self.n_cancelled += 1
        if request.ticket is None:
            self.end(request, Cancelled())
        else:
            self._stop_working(request)

    def unload(self, label: str) -> None:
        """Take a model out of memory: what it serves is finished, a load is given up."""
        place = self.keeper.places.get(label)
        if place is None:
            return
        if place.phase is Phase.LOADING:
            self.refused(place, Cancelled("the model was unloaded while it was loading"))
        self.keeper.leave(place)
        self.changed(place)

    def forget(self, label: str) -> None:
        """Nobody can ask for it by this name any more: nothing of it is kept."""
        if (place := self.keeper.places.get(label)) is not None:
            place.forgotten = True
            self.unload(label)

    def stop(self, drain: float) -> None:
        """Finish what was let in, for so long; then end it. Again: now."""
        if self._ending or drain <= 0:
            self._end_all(patience=0.0 if self._ending else PATIENCE)
        else:
            self._means.timers.at(self._means.now() + drain, partial(self._end_all, PATIENCE))
        self._ending = True
        self._look_for_end()

    # -- the way of a request

    def _set_deadlines(self, request: Request) -> None:
        wait = shorter(request.job.wait, self._settings.max_wait)
        whole = shorter(request.job.time, self._settings.max_time)
        at = self._means.timers.at
        if wait > 0:
            request.wait_timer = at(request.arrived + wait, lambda: self.end(request, WaitedTooLong(wait)))
        if whole > 0:
            request.time_timer = at(request.arrived + whole, lambda: self.end(request, TookTooLong(whole)))

    def changed(self, place: Place) -> None:
        """Something happened at this place: see who can go on."""
        if place.phase is Phase.COLD:
            for request in list(place.running):  # their worker should have told them, and did not
                request.fail(WorkerDied(f"the worker of {place.label!r} has ended"))
                self._let_go(place, request)
        while place.is_serving and place.line and place.has_room:
            self._hand_over(place, place.line.pop())
        tell_places(place)
        if place.leaving and place.phase is Phase.RESIDENT and not place.running:
            self.keeper.close(place)
        self.keeper.rest(place)
        self.keeper.claim()
        self._look_for_end()

    def refused(self, place: Place, error: HoshikageError) -> None:
        """A model cannot be had; all who wait for it are told why."""
        for request in list(place.line):
            self._end(request, error)

    def _hand_over(self, place: Place, request: Request) -> None:
        """Give it to the worker, which has it until the worker's last word about it."""
        assert place.loaded is not None, "handed over only where there is a worker"
        returned = partial(self._means.post, partial(self._returned, place, request))
        place.running.add(request)
        try:
            request.ticket = place.loaded.worker.ask(request.job.ask, relay(request, place.loaded.notes, returned))
        except WorkerDied as error:  # before it could begin: it waits for the next worker
            place.running.discard(request)
            place.line.put_back(request)
            self.keeper.died(place, place.load, error)
        except Exception as error:  # whatever it is, it is about this one
            self._gate.called()
            request.fail(as_ours(error, place.label))
            self._let_go(place, request)
        else:
            self._begun(place, request)

    def _begun(self, place: Place, request: Request) -> None:
        now = self._means.now()
        if not request.is_light:  # they may still wait for each other: none has a place in the batch
            self._means.timers.cancel(request.wait_timer)
        self._gate.called(now - max(self._begun_at, request.arrived))
        self.n_begun += 1
        self._begun_at = self.moved_at = place.moved_at = place.used_at = place.served_at = now
        if request.job.keep_alive is not None:
            place.keep = request.job.keep_alive

    def _returned(self, place: Place, request: Request) -> None:
        """Its worker has said its last word about it."""
        if request in place.running:
            self._let_go(place, request)
            self.changed(place)

    def _let_go(self, place: Place, request: Request) -> None:
        place.running.discard(request)
        place.used_at = place.moved_at = self.moved_at = self._means.now()
        if request.went_well:
            self.n_done += 1
            place.n_deaths = 0
        else:
            self.n_failed += 1
        self._forget(request)

    def end(self, request: Request, error: HoshikageError) -> None:
        """End it before its time. If a worker has it, it keeps its place there until the worker lets go."""
        if (place := self._alive.get(request)) is not None:
            self._end(request, error)
            self.changed(place)

    def _end(self, request: Request, error: HoshikageError) -> None:
        request.fail(error)
        if self._alive[request].line.remove(request):
            self.n_failed += 1
            self._gate.called()
            self._forget(request)
        else:
            self._stop_working(request)

    def _forget(self, request: Request) -> None:
        for timer in request.timers:
            self._means.timers.cancel(timer)
        if self._alive.pop(request, None) is not None:
            self._gate.ended(request.key)

    def _stop_working(self, request: Request) -> None:
        """Have a worker stop; one that shows no sign of life from now on is ended."""
        assert request.ticket is not None, "stopped only when it has begun"
        request.ticket.cancel()
        if request.grace_timer is None and self._settings.watchdog_timeout:
            self._set_grace(request)

    def _set_grace(self, request: Request) -> None:
        now = self._means.now()
        when = now + self._settings.watchdog_timeout
        request.grace_timer = self._means.timers.at(when, partial(self._check_grace, request, now))

    def _check_grace(self, request: Request, asked_at: float) -> None:
        place = self._alive.get(request)
        if place is None or place.loaded is None:
            return
        if place.loaded.worker.last_step > asked_at:
            self._set_grace(request)
        else:
            self.keeper.close(place, 0.0)

    # -- the end

    def _look_for_end(self) -> None:
        if self._ending and not self._ended and not self._alive:
            self._end_all(PATIENCE)
        self.is_over = self.is_over or (self._ended and self.keeper.is_empty)

    def _end_all(self, patience: float) -> None:
        """Tell everybody the end, and end every worker."""
        if not self._ended:
            self._means.timers.at(self._means.now() + LAST, self._give_up)
        self._ended = True
        for request in list(self._alive):
            self._end(request, Stopping())
        self.keeper.end(patience)
        self._look_for_end()

    def _give_up(self) -> None:
        """Whatever does not end is left: workers end with their socket, copies are found at the next start."""
        for place in self.keeper.places.values():
            if not place.lost and (place.phase is not Phase.COLD or place.staged):
                log.error("%s is still %s; it is left behind", place.label, place.state())
        self.is_over = True


def as_ours(error: Exception, label: str) -> HoshikageError:
    """What a worker raised instead of taking a request."""
    if isinstance(error, HoshikageError):
        return error
    log.error("a request for %s could not be handed over", label, exc_info=error)
    return InternalError("the request could not be handed over")


def tell_newcomer(place: Place, request: Request) -> None:
    """Where one stands who has just come, and how far the load is that it waits for."""
    request.tell_place(place.line.n_ahead_of_last(request.key))
    place.n_line_told = max(place.n_line_told, len(place.line))
    if place.phase is Phase.LOADING and place.progress:
        request.tell_progress(place.progress)


def tell_places(place: Place) -> None:
    """Tell all where they stand, once the line is shorter by an eighth: who waits long is told seldom."""
    if 8 * (place.n_line_told - len(place.line)) >= place.n_line_told:
        place.n_line_told = len(place.line)
        for n_ahead, request in enumerate(place.line):
            request.tell_place(n_ahead)


def tell_progress(place: Place) -> None:
    """Tell all how far the load is that they wait for."""
    for request in place.line:
        request.tell_progress(place.progress)


def shorter(asked: float | None, most: float) -> float:
    """The seconds that a request may take: as it asks, but no more than the settings say; 0: as many as it likes."""
    if not asked:
        return most if asked is None else 0.0
    return min(asked, most) if most > 0 else asked
