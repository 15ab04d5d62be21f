"""Who keeps the house: lets models come and go. The rules are in `residency`; this carries them out.

Belongs to the manager's thread. What blocks (a load, the end of a process, the removal of a copy) runs on a thread of
its own, which reports by `post`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from hoshikage.errors import HoshikageError, InternalError, LoadStuck, NoRoomError, WorkerDied
from hoshikage.manager.place import (
    Failure,
    Load,
    Loaded,
    NoRoom,
    OnDeath,
    OnProgress,
    Phase,
    Place,
    Staged,
    Terms,
    Worker,
)
from hoshikage.manager.residency import Come, Decision, Go, Holder, House, MakeDo, Refuse, Wait, Want, decide
from hoshikage.manager.timers import Timer, Timers
from hoshikage.registry import Model
from hoshikage.settings import Settings, replaced

log = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds that a worker gets to end by itself
BACKOFF, BACKOFF_MAX = 1.0, 60.0  # seconds until a failed load is tried again; twice as long each time
SILENT = 30.0  # seconds without a sign of life that a load has at least: a process and a driver take some to start
BREATH = 2.0  # seconds before a silence counts: where the server itself stood still, what was said has to be read first
OVERTAKEN = 4  # models that may come before one that waits for room: each may cost it a load and a turn

Action = Callable[[], object]


class Means(Protocol):
    """How the manager's thread reaches the world."""

    timers: Timers

    def now(self) -> float: ...
    def post(self, action: Action) -> None: ...  # have it done on the manager's thread; from any thread
    # Have it done on a thread of its own; where none can be started, `or_else` is posted, or it is done later.
    def aside(self, action: Action, or_else: Action | None = None) -> None: ...
    def new_load(self, place: Place, terms: Terms, on_progress: OnProgress, on_death: OnDeath) -> Load: ...


class Keeper:
    """The places of all models, and what becomes of each."""

    def __init__(
        self,
        settings: Settings,
        means: Means,
        on_change: Callable[[Place], object],
        on_progress: Callable[[Place], object],
        on_refusal: Callable[[Place, HoshikageError], object],
    ) -> None:
        self.places: dict[str, Place] = {}
        self.n_loads = self.n_failures = self.n_deaths = self.n_unloads = 0
        self._settings = settings
        self._means = means
        self._house = House(n_max=settings.max_resident)
        limit = settings.watchdog_timeout
        self._silence = max(SILENT, limit) if limit else math.inf  # seconds, after which a load is given up
        self._on_change = on_change
        self._on_progress = on_progress
        self._on_refusal = on_refusal
        self._claim_timer: Timer | None = None
        self._n_clearing = 0  # copies being removed
        self._ending = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in memory, on its way there or on its way out, but what is lost."""
        are_gone = (p.lost or (p.phase is Phase.COLD and not p.staged) for p in self.places.values())
        return not self._n_clearing and all(are_gone)

    def place_of(self, model: Model, identity: Any) -> Place:
        """The place of this model as the registry describes it now; what runs by an older description leaves."""
        place = self.places.get(model.label)
        if place is not None and place.lost and not place.is_of(model, identity):
            place.forgotten, place = True, None  # it is for itself until its load ends
        if place is None:
            settings = replaced(self._settings, model.settings)
            place = self.places[model.label] = Place(model, identity, settings, keep=keep_of(settings))
        place.forgotten = False
        if not place.is_of(model, identity):
            self._forget_past(place)
            place.model, place.identity = model, identity or place.identity
            place.settings = replaced(self._settings, model.settings)
            place.keep = keep_of(place.settings)
        return place

    def _forget_past(self, place: Place) -> None:
        place.failure, place.not_before, place.n_bytes_short = None, 0.0, 0
        self.leave(place)
        if place.phase is Phase.COLD:
            self._clear(place)

    # -- coming

    def claim(self) -> None:
        """Let that model come which has waited longest, and ask those to go who stand in its way, and nobody else."""
        self._means.timers.cancel(self._claim_timer)
        self._claim_timer = None
        if self._n_clearing or self._ending:
            return
        in_the_way, until = tuple[str, ...](), math.inf
        while (place := next(self._ready(), None)) is not None:
            if place.n_bytes_short > 0 and self._clear_another(place):
                return
            match self._decide(place):
                case Come() | MakeDo() as decision:
                    self._begin(place, makes_do=isinstance(decision, MakeDo))
                case Go(labels):
                    in_the_way = labels
                    break
                case Wait(until):
                    break
                case Refuse():
                    self._on_refusal(place, NoRoomError("as many models as may be in memory are pinned"))
                    self.rest(place)
        self._make_room(in_the_way)
        self._let_pass()
        self._look_again(until)

    def _make_room(self, labels: Sequence[str]) -> None:
        """Ask these to go. Who was asked before and is not any more stays, and goes on with its line."""
        for place in self.places.values():
            if place.label in labels:
                self.leave(place, for_room=True)
            elif place.may_stay:
                place.leaving = False
                self._means.post(partial(self._on_change, place))

    def _let_pass(self) -> None:
        """One that fits in what is free need not wait with the first until others have gone, though only so often.
        Room that is becoming free just now is the first's."""
        if any(place.phase is Phase.CLOSING for place in self.places.values()):
            return
        for place in self._ready():
            if may_come := self._decide(place) == Come():
                self._begin(place)
            if may_come or place.n_overtaken >= OVERTAKEN:
                return

    def _look_again(self, until: float) -> None:
        """Claim again at this time, or when a model may be started again, where that is sooner."""
        now = self._means.now()
        when = min([until, *(place.not_before for place in self._wanted() if place.not_before > now)])
        if when < math.inf:
            self._claim_timer = self._means.timers.at(when, self.claim)

    def _wanted(self) -> list[Place]:
        """The models that are waited for and not on their way, those first that have waited longest."""
        cold = [place for place in self.places.values() if place.phase is Phase.COLD and place.line]
        return sorted(cold, key=lambda place: place.waits_since)

    def _ready(self) -> Iterator[Place]:
        """Of them, those that may be started."""
        return (place for place in self._wanted() if place.not_before <= self._means.now())

    def _decide(self, place: Place) -> Decision:
        want = Want(since=place.waits_since, n_bytes_short=place.n_bytes_short)
        return decide(want, self._holders(), self._house, self._means.now())

    def _holders(self) -> list[Holder]:
        return [place.holder() for place in self.places.values() if place.is_holding]

    def _begin(self, place: Place, makes_do: bool = False) -> None:
        post = self._means.post
        place.settings = replaced(self._settings, {**wish_of(place), **place.model.settings})
        load = self._means.new_load(
            place,
            Terms(self._n_bytes_held(place), makes_do),
            lambda progress: post(partial(self._progressed, place, load, progress)),
            lambda error: post(partial(self.died, place, load, error)),
        )
        self._wake(place)
        place.load, place.phase, place.progress, place.n_bytes_short = load, Phase.LOADING, 0.0, 0
        place.since = place.moved_at = self._means.now()
        place.keep = keep_of(place.settings)  # what a request has said is over with what it was said of
        self.n_loads += 1
        no_thread = InternalError("no thread could be started for its load", "raise the limit of processes")
        self._means.aside(partial(self._run_load, place, load), partial(self._ended_load, place, load, no_thread))
        place.load_is_of = place.model, place.identity
        self._watch(place)

    def _run_load(self, place: Place, load: Load) -> None:
        """On a thread of its own."""
        self._means.post(partial(self._ended_load, place, load, outcome_of(load, place.label)))

    def _n_bytes_held(self, coming: Place) -> int:
        """Of the host, by models and by copies; the load of the one that comes counts its own."""
        loaded = sum(place.loaded.n_bytes_host for place in self.places.values() if place.loaded)
        copies = (place.staged for place in self.places.values() if place is not coming)
        return loaded + sum(copy.n_bytes for copy in copies if copy)

    def _progressed(self, place: Place, load: Load, progress: float) -> None:
        if place.phase is not Phase.LOADING or place.load is not load:
            return
        place.moved_at = self._means.now()
        if progress >= place.progress:  # less: it begins anew, with less of the model
            place.progress = progress
            self._on_progress(place)

    def _watch(self, place: Place, silent_since: float | None = None) -> None:
        """Look after its load. Silent for too long, and at the next look still since `silent_since`, it is given up."""
        if place.moved_at == silent_since:
            self._give_up(place)
        if place.lost or self._silence == math.inf:
            return
        now, at = self._means.now(), self._means.timers.at
        if now < (when := place.moved_at + self._silence - BREATH):
            place.watch = at(when, partial(self._watch, place))
        else:
            place.watch = at(now + BREATH, partial(self._watch, place, place.moved_at))

    def _give_up(self, place: Place) -> None:
        """End a load that does not move. One that does not even end then, as on a disk that hangs, stands in nobody's
        way any more; its model is not tried again before it has ended."""
        if place.leaving:
            log.error("%s: its load does not end; what it holds is reckoned with no more", place.label)
            place.lost = True
            place.model, place.identity = place.load_is_of  # another file may be tried
        self._failed(place, LoadStuck(self._silence), rest=self._silence)
        self.leave(place)
        self._on_change(place)

    def _ended_load(self, place: Place, load: Load, outcome: Loaded | NoRoom | HoshikageError) -> None:
        now, since = self._means.now(), place.since
        self._means.timers.cancel(place.watch)
        place.staged, place.watch, place.lost = load.staged, None, False
        place.since = place.used_at = place.moved_at = now
        if isinstance(outcome, Loaded):
            log.info("%s: loaded in %.1f s%s", place.label, now - since, "".join(f"; {note}" for note in outcome.notes))
            place.phase, place.loaded, place.failure, place.n_overtaken = Phase.RESIDENT, outcome, None, 0
            self._count_room(-outcome.n_bytes)
            for other in self._wanted():
                other.n_overtaken += other.waits_since < place.waits_since
            if place.leaving:
                self.close(place)
            elif not outcome.worker.alive:  # it said so too early to be heard
                self.died(place, load, WorkerDied(f"the worker of {place.label!r} ended as soon as it was loaded"))
        else:
            place.phase, place.load = Phase.COLD, None
            cancelled, place.leaving = place.leaving, False
            if isinstance(outcome, NoRoom):
                place.n_bytes_short = outcome.n_bytes_short
            elif not cancelled:
                self._failed(place, outcome)
        self._on_change(place)

    def _count_room(self, n_bytes: int) -> None:
        """So much has become free since others looked for room, or is taken where it is negative."""
        for place in self.places.values():
            if place.n_bytes_short > 0:
                place.n_bytes_short = max(0, place.n_bytes_short - n_bytes)

    def _failed(self, place: Place, error: HoshikageError, rest: float = 0.0) -> None:
        n_times = place.failure.n_times + 1 if place.failure else 1
        place.failure = Failure(error.anew(), n_times, self._means.now() + max(rest, backoff(n_times)))
        self.n_failures += 1
        log.warning("%s: cannot be loaded: %s", place.label, error.cause)
        self._on_refusal(place, error)

    # -- going

    def leave(self, place: Place, *, for_room: bool = False) -> None:
        """It goes as soon as it has finished what it serves; a load that is under way is cancelled."""
        place.for_room = for_room
        if place.phase is Phase.LOADING and not place.leaving and place.load is not None:
            place.leaving, place.moved_at = True, self._means.now()  # it gets its time to end
            self._means.aside(place.load.cancel)
        elif place.phase is Phase.RESIDENT:
            place.leaving = True
            if not place.running:
                self.close(place)

    def close(self, place: Place, patience: float = PATIENCE) -> None:
        """End its process, whatever it does."""
        if place.loaded is None:
            return
        worker = place.loaded.worker
        first = place.phase is not Phase.CLOSING
        place.phase, place.leaving = Phase.CLOSING, True
        self._wake(place)
        self._means.aside(partial(self._run_close, place, worker, patience, first))

    def _run_close(self, place: Place, worker: Worker, patience: float, reports: bool) -> None:
        """On a thread of its own."""
        try:
            worker.close(patience)
        except Exception:
            log.exception("the worker of %s could not be ended", place.label)
        if reports:
            self._means.post(partial(self._closed, place))

    def _closed(self, place: Place) -> None:
        self._count_room(place.loaded.n_bytes if place.loaded else 0)
        place.phase, place.leaving, place.loaded, place.load = Phase.COLD, False, None, None
        place.moved_at = self._means.now()
        self.n_unloads += 1
        log.info("%s: has left memory", place.label)
        if not any(other.leaving for other in self.places.values() if other.is_holding):
            for other in self.places.values():
                other.n_bytes_short = 0  # what has become free is to be seen by looking anew
        self._on_change(place)

    def died(self, place: Place, load: Load | None, error: HoshikageError) -> None:
        """Its process is gone without having been asked to go. The first time it may come back at once."""
        if place.phase is not Phase.RESIDENT or place.load is not load:
            return
        log.warning("%s: %s", place.label, error)
        self.n_deaths += 1
        place.n_deaths += 1
        place.not_before = self._means.now() + backoff(place.n_deaths - 1)
        self.close(place, 0.0)

    # -- resting

    def rest(self, place: Place) -> None:
        """Begin the rest of a model that has nothing to do, or end it."""
        self._wake(place)
        at, great = self._means.timers.at, 60 * self._settings.great_timeout
        if place.phase is Phase.COLD and self._ending:
            self._clear(place)
        elif not place.is_idle:
            return
        elif place.phase is Phase.RESIDENT and place.keep >= 0 and not place.pinned:
            place.timer = at(place.used_at + place.keep, partial(self.leave, place))
        elif place.phase is Phase.COLD and place.forgotten:
            self._clear(place)
        elif place.phase is Phase.COLD and place.staged and great:
            place.timer = at(place.used_at + great, partial(self._clear, place))

    def _wake(self, place: Place) -> None:
        self._means.timers.cancel(place.timer)
        place.timer = None

    def end(self, patience: float) -> None:
        """Have everything gone soon, whatever it does. Nothing comes any more."""
        self._ending = True
        for place in self.places.values():
            self.leave(place)
            self.close(place, patience)
            self.rest(place)

    def _clear_another(self, place: Place) -> bool:
        """Give up the copy that has been of no use for longest, so that there may be room."""
        copies = [p for p in self.places.values() if p is not place and p.phase is Phase.COLD and p.staged]
        if not copies:
            return False
        self._clear(min(copies, key=lambda p: p.used_at))
        place.n_bytes_short = 0  # to be looked at anew
        return True

    def _clear(self, place: Place) -> None:
        self._wake(place)
        staged, place.staged = place.staged, None
        if staged is not None:
            self._n_clearing += 1
            self._means.aside(partial(self._run_clear, place, staged))

    def _run_clear(self, place: Place, staged: Staged) -> None:
        """On a thread of its own."""
        try:
            staged.remove()
        except Exception:
            log.exception("the copy of %s could not be removed", place.label)
        self._means.post(partial(self._cleared, place))

    def _cleared(self, place: Place) -> None:
        self._n_clearing -= 1
        self._on_change(place)


def wish_of(place: Place) -> Mapping[str, Any]:
    """What the request that has waited longest wants a load with, where the model itself does not say."""
    first = place.line.first()
    return first.job.settings if first else {}


def outcome_of(load: Load, label: str) -> Loaded | NoRoom | HoshikageError:
    """Run a load to its end; on a thread of its own."""
    try:
        return load.run()
    except (NoRoom, HoshikageError) as outcome:
        return outcome
    except Exception:
        log.exception("the load of %s failed in a way that nobody foresaw", label)
        return InternalError("the load failed in a way that nobody foresaw")


def keep_of(settings: Settings) -> float:
    """Seconds that a model stays without work."""
    return settings.idle_timeout or -1.0


def backoff(n_times: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(BACKOFF_MAX, BACKOFF * 2.0 ** (n_times - 1)) if n_times > 0 else 0.0
