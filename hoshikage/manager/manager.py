"""The manager: one thread that decides which models are in memory and who is served, and what others ask it.

All of its state belongs to its thread, which takes messages one after the other and never waits for anything else.
The methods here are safe from any thread, and none of them but `stop` waits.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from hoshikage.errors import HoshikageError, Stopping
from hoshikage.manager.heap import return_large_pieces
from hoshikage.manager.job import Job, Tell, Ticket
from hoshikage.manager.keeper import Action, Means
from hoshikage.manager.loader import Loader
from hoshikage.manager.place import Load, OnDeath, OnProgress, Place, Terms
from hoshikage.manager.queue import Gate
from hoshikage.manager.request import Request
from hoshikage.manager.staging import sweep
from hoshikage.manager.state import ModelState, Pulse
from hoshikage.manager.steward import Steward
from hoshikage.manager.timers import Timers
from hoshikage.manager.view import n_bytes_on_gpu, pulse_of, states_of
from hoshikage.registry import Registry
from hoshikage.registry.facts import identity_of
from hoshikage.settings import Settings
from hoshikage.worker.ask import Ask, Event, Failed
from hoshikage.worker.frames import packed

LOOK = 0.2  # seconds of a wait, after which a handler of signals gets its turn
STRAGGLERS = 5.0  # seconds in which those who were let in just before the gate was closed are heard of
AGAIN = 1.0  # seconds until a thread that could not be started is tried again

log = logging.getLogger(__name__)

NewLoad = Callable[[Place, Terms, OnProgress, OnDeath], Load]


class Manager:
    """Hands jobs to models, and models to memory. `start` it once, and `stop` it."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        *,
        new_load: NewLoad | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._numbers = itertools.count()
        self._gate = Gate(settings.max_waiting, settings.max_per_key)
        self._desk = Desk(new_load or Loader(settings), clock)
        self._steward = Steward(settings, self._desk, self._gate)
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)

    def start(self) -> None:
        """Begin. The models of PRELOAD are woken, and stay loaded no longer than others."""
        return_large_pieces()
        self._thread.start()
        self._desk.aside(partial(sweep, Path(self._settings.ramdisk_path)))
        self._warn_of_pinned()
        for label in self._settings.preload:
            try:
                self.wake(label)
            except HoshikageError as error:
                log.warning("%s is not preloaded: %s", label, error)

    def _warn_of_pinned(self) -> None:
        for label in self._settings.pinned:
            try:
                self._registry.find(label)
            except HoshikageError as error:
                log.warning("%s is pinned, but cannot be had: %s", label, error)

    def submit(self, job: Job, tell: Tell) -> Ticket:
        """Take a job. Raises UnknownModelError, QueueFullError, Stopping, or what is wrong with the job or the model's
        entry. A long body takes its time, here and not on the thread that all wait for."""
        if self._gate.closed:
            raise Stopping
        model = self._registry.find(job.model)
        identity = identity_or_none(model.path)
        if isinstance(job.ask, Ask):
            job = replace(job, ask=packed(job.ask))
        request = Request(next(self._numbers), job, model, tell, self._desk.now(), self._cancel)
        self._gate.enter(job.key)
        self._desk.post(partial(self._steward.submitted, request, identity))
        return request

    def _cancel(self, request: Request) -> None:
        self._desk.post(partial(self._steward.cancelled, request))

    def wake(self, label: str, keep_alive: float | None = None, tell: Tell | None = None) -> Ticket:
        """Load a model if it is not there. `tell` hears of the load, and at its end what the model is."""
        job = Job(model=label, ask=Ask(kind="describe"), keep_alive=keep_alive)
        return self.submit(job, tell or partial(log_failure, label))

    def unload(self, label: str) -> None:
        """Take a model out of memory as soon as what it serves is finished; a load under way is given up."""
        self._desk.post(partial(self._steward.unload, label))

    def forget(self, label: str) -> None:
        """The same for a model whose name is gone: its copy in the RAM disk goes as well."""
        self._desk.post(partial(self._steward.forget, label))

    def models(self) -> list[ModelState]:
        """Every model of the registry, and what is in memory beside. Wakes none."""
        return list(states_of(self._registry.catalogue(), dict(self._steward.keeper.places), self._desk.now()))

    def is_on_gpu(self, label: str) -> bool:
        """Whether some of a model is in the memory of a GPU. Looks at no file."""
        return n_bytes_on_gpu(self._steward.keeper.places.get(label)) > 0

    def pulse(self) -> Pulse:
        """Whether work moves. Without its thread, before `start` and after `stop`, nothing does."""
        pulse = pulse_of(
            self._steward, self._gate, self._desk.busy_since, self._desk.now(), self._settings.watchdog_timeout
        )
        return pulse if self._thread.is_alive() else replace(pulse, stuck=True)

    def stop(self, drain: float | None = None) -> None:
        """Let nothing in any more, finish what is there for `drain` seconds, end every worker; waits for that.

        A second call, from a signal handler or another thread, does not drain. Workers that do not end are killed.
        """
        self._gate.closed = True
        if self._thread.ident is None:
            return
        drain = self._settings.drain_timeout if drain is None else drain
        self._desk.post(partial(self._steward.stop, drain))
        while threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(LOOK)  # a signal that comes just before a wait is heard only after it

    # -- the thread

    def _run(self) -> None:
        while not self._steward.is_over:
            self._desk.work()
        end = self._desk.now() + STRAGGLERS
        while self._gate.n_inside and (patience := end - self._desk.now()) > 0:
            self._desk.work(patience)


class Desk(Means):
    """Where messages arrive, and the time: what the manager's thread works through."""

    def __init__(self, new_load: NewLoad, clock: Callable[[], float]) -> None:
        self.timers = Timers()
        self._clock = clock
        self._new_load = new_load
        self.busy_since: float | None = None  # while a message is dealt with
        self._messages: SimpleQueue[Action] = SimpleQueue()

    def now(self) -> float:
        return self._clock()

    def new_load(self, place: Place, terms: Terms, on_progress: OnProgress, on_death: OnDeath) -> Load:
        return self._new_load(place, terms, on_progress, on_death)

    def post(self, action: Action) -> None:
        self._messages.put(action)

    def aside(self, action: Action, or_else: Action | None = None) -> None:
        try:
            threading.Thread(target=action, name="manager's errand", daemon=True).start()
        except RuntimeError as error:  # as many run as may
            log.warning("an errand waits: %s; raise the limit of processes", error)
            self.post(or_else or partial(self._try_again, action))

    def _try_again(self, action: Action) -> None:
        self.timers.at(self.now() + AGAIN, partial(self.aside, action))

    def work(self, patience: float | None = None) -> None:
        """Wait for a message or for the time of a timer, for so long at most, and deal with it."""
        when = self.timers.next()
        if when is not None:
            until = max(0.0, when - self.now())
            patience = until if patience is None else min(patience, until)
        with suppress(Empty):
            self._do(self._messages.get(timeout=patience))
        for action in self.timers.due(self.now()):
            self._do(action)

    def _do(self, action: Action) -> None:
        self.busy_since = self.now()
        try:
            action()
        except Exception:
            log.exception("the manager made a mistake; it goes on with what comes next")
        self.busy_since = None


def identity_or_none(path: Path) -> Any:
    """Changes with the file; None when it cannot be seen, which the load will say."""
    try:
        return identity_of(path)
    except OSError:
        return None


def log_failure(label: str, event: Event) -> None:
    if isinstance(event, Failed):
        log.warning("%s could not be woken: %s", label, event.error)
