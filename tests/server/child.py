"""A server as a process of its own, as people run it; only that models called `fake...` are made of a hash.

    python -m tests.server.child FOLDER

The folder holds `model_map.json`. What it is like is set by the environment, as for everybody. Its address is printed.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from hoshikage import logs
from hoshikage import settings as table
from hoshikage.manager.job import Job, Tell
from hoshikage.manager.loader import Loader, log_line
from hoshikage.manager.manager import Manager
from hoshikage.manager.place import Loaded, OnDeath, OnProgress, Place
from hoshikage.registry import Model, Registry, rows_of_model
from hoshikage.server import files
from hoshikage.server.metrics import Metrics
from hoshikage.server.serve import serve
from hoshikage.server.services import Services
from hoshikage.server.shell.limits import Limits
from hoshikage.worker.client import Fake, Worker

FAKES: dict[str, dict[str, Any]] = {
    "fake": {"n_ctx": 512},
    "dreamon": {"n_ctx": 2048},  # a map may give these two names to a file
    "llada": {"n_ctx": 1024},
    "fake-slow": {"n_vocab": 1 << 16, "n_ctx": 2048},  # a pass of it takes as long as one of a small model
}


class FakeLoad:
    """A load that needs no file."""

    staged = None

    def __init__(self, place: Place, on_death: OnDeath) -> None:
        self._place = place
        self._worker = Worker(place.model.label, on_log=log_line, on_death=on_death)

    def run(self) -> Loaded:
        try:
            settings = {name: getattr(self._place.settings, name) for name in rows_of_model()}
            self._worker.load(Fake(FAKES[self._place.model.label]), settings)
        except BaseException:
            self._worker.close(0.0)
            raise
        return Loaded(worker=self._worker, n_bytes=1000, n_bytes_host=1000)

    def cancel(self) -> None:
        self._worker.close(0.0)


def hang_at(label: str) -> None:
    """As if the file of this model were on a mount that hangs."""
    facts = Model.facts

    def hanging(model: Model) -> Any:
        if model.label == label:
            threading.Event().wait()
        return facts(model)

    Model.facts = hanging  # type: ignore[method-assign]


def hang_later_at(label: str) -> None:
    """As if it hung since the server looked at the file: then it is the manager that looks next."""
    submit = Manager.submit

    def hanging(manager: Manager, job: Job, tell: Tell) -> Any:
        if job.model == label:
            threading.Event().wait()
        return submit(manager, job, tell)

    Manager.submit = hanging  # type: ignore[method-assign]


def main(folder: Path) -> None:
    if label := os.environ.get("TEST_HANGS"):
        hang_at(label)
    if label := os.environ.get("TEST_HANGS_LATER"):
        hang_later_at(label)
    if patience := os.environ.get("TEST_PATIENCE"):
        files.PATIENCE = float(patience)
    settings = table.read({"model_map_file": str(folder / "model_map.json"), "port": 0})
    logs.start(settings)
    registry = Registry.of(settings)
    loader = Loader(settings)

    def new_load(place: Place, n_bytes_held: int, on_progress: OnProgress, on_death: OnDeath) -> Any:
        if place.model.label in FAKES:
            return FakeLoad(place, on_death)
        return loader(place, n_bytes_held, on_progress, on_death)

    limits = Limits.of(settings)
    if quiet := os.environ.get("TEST_QUIET_SECONDS"):
        limits = replace(limits, quiet_seconds=float(quiet))
    services = Services(
        settings=settings,
        registry=registry,
        manager=Manager(settings, registry, new_load=new_load),
        metrics=Metrics(),
        limits=limits,
    )
    serve(services, lambda url: print(url, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
