"""Real worker processes in tests: what an ask is told, waited for with a limit, and nothing left behind."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hoshikage.worker.ask import Answered, Ask, Done, Event, Failed, Said
from hoshikage.worker.client import Fake, Worker, WorkerTicket

PATIENCE = 60.0  # seconds after which a test fails instead of waiting on: the machines are slow
SMALL = Fake({"salt": 5})
SLOW = Fake({"salt": 5, "n_vocab": 1 << 17})  # some milliseconds a step


class Heard:
    """What one ask was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._change = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._change:
            self.events.append(event)
            self._change.notify_all()

    def wait(self, until: Callable[[list[Event]], object]) -> list[Event]:
        with self._change:
            assert self._change.wait_for(lambda: until(self.events), PATIENCE), f"only heard {self.events}"
            return list(self.events)

    def something(self) -> list[Event]:
        return self.wait(bool)

    def end(self) -> list[Event]:
        return self.wait(lambda events: events and isinstance(events[-1], Done | Failed))

    def answers(self) -> list[Answered]:
        events = self.end()
        assert isinstance(events[-1], Done), events[-1]
        return [event for event in events if isinstance(event, Answered)]

    def error(self) -> Exception:
        last = self.end()[-1]
        assert isinstance(last, Failed), last
        return last.error

    def text(self, index: int = 0) -> str:
        """What was told of an answer, piece by piece."""
        return "".join(
            event.delta for event in self.events if isinstance(event, Said | Answered) and event.index == index
        )


def ask(worker: Worker, kind: Any = "generate", watch: Any = "end", **body: Any) -> tuple[Heard, WorkerTicket]:
    heard = Heard()
    return heard, worker.ask(Ask(kind=kind, body=body, watch=watch), heard)


def generate(
    worker: Worker, *prompts: Any, watch: Any = "end", n: int = 1, **options: Any
) -> tuple[Heard, WorkerTicket]:
    return ask(worker, watch=watch, prompts=list(prompts), n=n, options=options)


@contextmanager
def working(what: Any = SMALL, passes: str = "one", **options: Any) -> Iterator[Worker]:
    """A worker with a model."""
    worker = Worker("tiny", **options)
    try:
        worker.load(what, {"n_threads": 1, "n_threads_batch": 1, "n_gpu_layers": 0, "passes": passes})
        yield worker
    finally:
        worker.close()


def gone(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether a process ends within so many seconds, or is not there any more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def eventually(true: Callable[[], object]) -> bool:
    """Whether it comes to be true before the limit."""
    limit = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > limit:
            return False
    return True


def suspend(pid: int) -> None:
    """Stop a process, and wait until it is: a thread of it may go on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: set(states_of_threads(pid)) == {"T"})


def states_of_threads(pid: int) -> Iterator[str]:
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield status.read_text().rpartition(")")[2].split()[0]
