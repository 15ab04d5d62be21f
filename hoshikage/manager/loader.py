"""How a model gets into memory: one attempt, on a thread of its own, from its file to a worker that can be asked.

Out of memory is answered with less: the next plan. A worker that dies while it loads counts as out of memory, once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from os import PathLike
from typing import Any

from hoshikage import _libs
from hoshikage.errors import Cancelled, DiedLoading, HoshikageError, MemoryExhausted, NoRoomError
from hoshikage.gguf import Wish
from hoshikage.manager.fit import Fit, Plan, fit, rooms
from hoshikage.manager.gpu import gpus
from hoshikage.manager.memory import host
from hoshikage.manager.place import Loaded, NoRoom, OnDeath, OnProgress, Place, Staged, Terms
from hoshikage.manager.shape import shape_of
from hoshikage.manager.staging import stage
from hoshikage.registry import Model, rows_of_model
from hoshikage.settings import Settings
from hoshikage.worker.client import Fake, Worker
from hoshikage.worker.one_pass import OnePass

HALF = 0.5  # of the progress of a load is that of the copy, where one is made

log = logging.getLogger(__name__)
worker_log = logging.getLogger("hoshikage.worker")


class Loader:
    """Makes loads."""

    def __init__(self, settings: Settings) -> None:
        _libs.use(settings.lib_path)  # workers are started with it
        self._one_pass = None if settings.passes == "many" else OnePass()

    def __call__(self, place: Place, terms: Terms, on_progress: OnProgress, on_death: OnDeath) -> OneLoad:
        return OneLoad(place, terms, self._one_pass, on_progress, on_death)


class OneLoad:
    """One attempt; see `place.Load`."""

    def __init__(
        self, place: Place, terms: Terms, one_pass: OnePass | None, on_progress: OnProgress, on_death: OnDeath
    ) -> None:
        self.staged: Staged | None = place.staged
        self._model: Model = place.model
        self._settings: Settings = place.settings
        self._terms = terms
        self._one_pass = one_pass
        self._on_progress = on_progress
        self._on_death = on_death
        self._worker: Worker | None = None
        self._loaded_from = 0.0  # progress before this is that of the copy
        self._cancelled = False
        self._lock = threading.Lock()

    def run(self) -> Loaded:
        """Load it; on its own thread."""
        path = self._model.path
        if self.staged is not None and not self.staged.is_of(path):
            self._drop_copy()
        found, n_free = self._fit()
        if self.staged is None:
            n_free -= found.plans[0].need.host
            self.staged = stage(path, self._settings, n_free, self._tell_copied, lambda: self._cancelled)
            if self.staged is not None:
                self._loaded_from = HALF
                found, _ = self._fit()
        return self.first_that_loads(found.plans)

    def cancel(self) -> None:
        """Have `run` end soon; from any other thread."""
        with self._lock:
            self._cancelled, worker = True, self._worker
        if worker is not None:
            worker.close(0.0)

    def _fit(self) -> tuple[Fit, int]:
        """The ways in which it fits now, and what is free of the host. A damaged file is found here."""
        shape, is_staged = shape_of(self._model.path, Wish.of(self._settings)), self.staged is not None
        devices = gpus(self._settings.lib_path)
        n_bytes_held = self._terms.n_bytes_held + (self.staged.n_bytes if self.staged is not None else 0)
        now, ever = rooms(self._settings, host(), devices, n_bytes_held)
        found = fit(shape, self._settings, now, ever, is_staged=is_staged)
        if found.n_bytes_short and not self._terms.makes_do:
            raise NoRoom(found.n_bytes_short)
        if found.plans:
            return found, now.host
        if is_staged:
            self._drop_copy()
            return self._fit()
        cause = f"{found.n_bytes_short / 1e9:.1f} GB of memory are missing, and no model is left to be unloaded"
        raise NoRoomError(cause, "end other programs, or use a smaller context or model")

    def _drop_copy(self) -> None:
        if self.staged is not None:
            self.staged.remove()
            self.staged = None

    def _tell_copied(self, progress: float) -> None:
        self._on_progress(HALF * progress)

    def _tell_loaded(self, progress: float) -> None:
        self._on_progress(self._loaded_from + (1 - self._loaded_from) * progress)

    def first_that_loads(self, plans: Iterable[Plan]) -> Loaded:
        """Take the plans one after the other, as long as memory runs out."""
        n_deaths, last = 0, HoshikageError("there is no plan for it")
        for plan in plans:
            try:
                return self.attempt(self.staged.path if self.staged else self._model.path, plan)
            except DiedLoading as error:
                n_deaths, last = n_deaths + 1, error
                if n_deaths == 2:  # less of it did not help: it is something else
                    break
            except MemoryExhausted as error:
                last = error
            log.warning("%s: %s", self._model.label, last)
        raise last

    def attempt(self, what: str | PathLike[str] | Fake, plan: Plan) -> Loaded:
        """Start a worker and let it load; it is gone when that fails."""
        worker = self._new_worker()
        try:
            worker.load(what, settings_for(self._settings, plan), self._tell_loaded)
        except BaseException:
            worker.close(0.0)
            raise
        return Loaded(
            worker=worker,
            n_bytes=plan.need.host + sum(plan.need.gpus),
            n_bytes_host=plan.need.host,
            n_seq=plan.n_seq,
            notes=plan.notes,
        )

    def _new_worker(self) -> Worker:
        with self._lock:
            if self._cancelled:
                raise Cancelled("the load was given up")
            self._worker = Worker(self._model.label, on_log=log_line, on_death=self._on_death, one_pass=self._one_pass)
            return self._worker


def settings_for(settings: Settings, plan: Plan) -> dict[str, Any]:
    """What a worker is told: the settings of its model, as the plan has changed them."""
    names = [*rows_of_model(), "passes"]
    return {name: getattr(settings, name) for name in names} | plan.changes


def log_line(label: str, line: str) -> None:
    """What a worker prints."""
    worker_log.info("%s: %s", label, line)
