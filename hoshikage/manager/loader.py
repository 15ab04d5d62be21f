"""How a model gets into memory: one attempt, on a thread of its own, from its file to a worker that can be asked.

Out of memory is answered with less: the next plan. A worker that dies while it loads counts as out of memory, once.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from hoshikage.errors import Cancelled
from hoshikage.manager.place import Loaded, OnDeath, OnProgress, Place, Staged, Terms
from hoshikage.registry import Model, rows_of_model
from hoshikage.settings import Settings
from hoshikage.worker.client import Worker
from hoshikage.worker.one_pass import OnePass

log = logging.getLogger(__name__)
worker_log = logging.getLogger("hoshikage.worker")


class Loader:
    """Makes loads."""

    def __init__(self, settings: Settings) -> None:
        self._one_pass = None if settings.passes == "many" else OnePass()

    def __call__(self, place: Place, _terms: Terms, on_progress: OnProgress, on_death: OnDeath) -> OneLoad:
        return OneLoad(place.model, place.settings, place.staged, self._one_pass, on_progress, on_death)


class OneLoad:
    """One attempt; see `place.Load`."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        staged: Staged | None,
        one_pass: OnePass | None,
        on_progress: OnProgress,
        on_death: OnDeath,
    ) -> None:
        self.staged = staged
        self._model = model
        self._settings = settings
        self._one_pass = one_pass
        self._on_progress = on_progress
        self._on_death = on_death
        self._worker: Worker | None = None
        self._cancelled = False
        self._lock = threading.Lock()

    def run(self) -> Loaded:
        """Load it; on its own thread."""
        self._model.facts()  # says at once, and without a process, what is wrong with most files
        return self._attempt({name: getattr(self._settings, name) for name in rows_of_model()})

    def cancel(self) -> None:
        """Have `run` end soon; from any other thread."""
        with self._lock:
            self._cancelled, worker = True, self._worker
        if worker is not None:
            worker.close(0.0)

    def _attempt(self, settings: dict[str, Any], notes: tuple[str, ...] = ()) -> Loaded:
        worker = self._new_worker()
        try:
            facts = worker.load(self._model.path, settings, self._on_progress)
        except BaseException:
            worker.close(0.0)
            raise
        return Loaded(worker=worker, n_bytes=facts.n_bytes, notes=notes)

    def _new_worker(self) -> Worker:
        with self._lock:
            if self._cancelled:
                raise Cancelled("the load was given up")
            self._worker = Worker(self._model.label, on_log=log_line, on_death=self._on_death, one_pass=self._one_pass)
            return self._worker


def log_line(label: str, line: str) -> None:
    """What a worker prints."""
    worker_log.info("%s: %s", label, line)
