"""Managers in tests: with real workers that hold a model made of a hash, or with workers that are only a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hoshikage.errors import WorkerDied
from hoshikage.manager.fit import Plan
from hoshikage.manager.job import Job, Tell, Ticket
from hoshikage.manager.loader import OneLoad
from hoshikage.manager.manager import Manager
from hoshikage.manager.need import Need
from hoshikage.manager.place import Loaded, OnDeath, OnProgress, Place, Terms
from hoshikage.manager.state import ModelState
from hoshikage.registry import Registry
from hoshikage.settings import Settings
from hoshikage.worker.ask import Ask, Done, Failed
from hoshikage.worker.client import Fake
from tests.workers import Heard, eventually

QUICK = Fake({"salt": 5})
SLOW = Fake({"salt": 5, "n_vocab": 1 << 14})  # some milliseconds a step, where hundreds of tokens are wanted
PLAN = Plan(need=Need(host=1000), spread=(), n_ctx=512, n_seq=8)
EXACT: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1, "n_ctx": 512, "staging": "off"}


class FakeLoad(OneLoad):
    """A real worker process without weights; `salt` sets what it says, and a label that begins so is slow."""

    def run(self) -> Loaded:
        return self.attempt(SLOW if self._model.label.startswith("slow") else QUICK, PLAN)


def fake_load(place: Place, terms: Terms, on_progress: OnProgress, on_death: OnDeath) -> FakeLoad:
    return FakeLoad(place, terms, None, on_progress, on_death)


class ThreadWorker:
    """Answers on a thread of its own, at once: for what concerns threads and no process."""

    pid, last_step = 1, 0.0

    def __init__(self) -> None:
        self.alive = True
        self.n_asks = 0
        self._asks: SimpleQueue[Tell | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, _: Ask, tell: Tell) -> Ticket:
        if not self.alive:
            raise WorkerDied("it was asked after its end")
        self.n_asks += 1
        self._asks.put(tell)
        return self

    def cancel(self) -> None:
        """Too late."""

    def close(self, _: float) -> None:
        self.alive = False
        self._asks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (tell := self._asks.get()) is not None:
            tell(Done())
        while not self._asks.empty():
            if (tell := self._asks.get()) is not None:
                tell(Failed(error=WorkerDied("it was closed with an ask")))


class ThreadLoad:
    """A load of it."""

    staged = None

    def __init__(self, workers: list[ThreadWorker]) -> None:
        self._workers = workers

    def run(self) -> Loaded:
        self._workers.append(ThreadWorker())
        return Loaded(worker=self._workers[-1])

    def cancel(self) -> None:
        """Too late."""


def map_of(folder: Path, labels: str) -> Registry:
    """A registry of these labels; only who loads needs the files."""
    entries = {label: {"path": str(folder), "model": f"{label}.gguf"} for label in labels.split()}
    path = folder / "model_map.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return Registry(path)


@contextmanager
def managing(registry: Registry, new_load: Any = fake_load, **settings: Any) -> Iterator[Manager]:
    """A manager that is stopped at the end."""
    manager = Manager(Settings(**{**EXACT, **settings}), registry, new_load=new_load)
    manager.start()
    try:
        yield manager
    finally:
        manager.stop(0)


def submit(manager: Manager, label: str, prompt: str = "a", *, watch: Any = "text", max_tokens: int = 4,
           **job: Any) -> tuple[Heard, Ticket]:  # fmt: skip
    heard = Heard()
    options = {"max_tokens": max_tokens, "temperature": 0.0}
    ask = Ask(kind="generate", body={"prompts": [prompt], "options": options}, watch=watch)
    return heard, manager.submit(Job(model=label, ask=ask, **job), heard)


def state_of(manager: Manager, label: str) -> ModelState:
    return next(state for state in manager.models() if state.label == label)


def comes(manager: Manager, label: str, true: Callable[[ModelState], object]) -> ModelState:
    """Wait until a model's state is so."""
    assert eventually(lambda: true(state_of(manager, label))), state_of(manager, label)
    return state_of(manager, label)
