"""A worker as its parent sees it: a child process that is started, loads a model, is asked, and ends.

All methods are safe from any thread and none of them waits for the child, except `load` and `close`, which say so. A
thread of the worker's own reads what the child says and calls back: `tell` of an ask, `on_log`, `on_death`. These must
not wait for anything, for all asks of this worker wait with them.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias

from hoshikage.errors import Cancelled, DiedLoading, FileError, HoshikageError, ParameterError, WorkerDied
from hoshikage.worker.ask import Ask, Done, Event, Failed, Packed
from hoshikage.worker.facts import Facts
from hoshikage.worker.frames import ask_frame, error_of, event_of, facts_of, number, packed, whole
from hoshikage.worker.one_pass import OnePass
from hoshikage.worker.outgoing import Outgoing
from hoshikage.worker.process import ending, start
from hoshikage.worker.reading import Reading
from hoshikage.worker.wire import FrameError, checked_json, frame

Tell: TypeAlias = Callable[[Event], object]

PATIENCE = 30.0  # seconds in which a child must read something of what it is sent


def ignore(*_: Any) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Fake:
    """A model made of a hash, for tests without weights: asked for by name, never by a path."""

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerTicket:
    """What can still be done about an ask."""

    worker: Worker
    number: int

    def cancel(self) -> None:
        """End it with what is there: safe from any thread, at any time, and more than once.

        Its answers end as "cancelled"; an ask that was not begun ends with `Failed(Cancelled)`.
        """
        self.worker.cancel(self.number)


@dataclass(slots=True)
class Load:
    """A load that somebody waits for."""

    tell: Callable[[float], object]
    outcome: Future[Facts]
    progress: float = 0.0


class Worker:
    """The parent's end of one child process. `on_death(error)` tells of an end that `close` did not ask for."""

    def __init__(
        self,
        label: str,
        *,
        on_log: Callable[[str, str], object] = ignore,
        on_death: Callable[[WorkerDied], object] = ignore,
        one_pass: OnePass | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.label = label
        self.facts: Facts | None = None  # of the model, once it is loaded
        self.last_step = time.monotonic()  # when its loop last gave a sign of life, or got work after it had none
        self._on_log, self._on_death = on_log, on_death
        self._lock = threading.Lock()
        self._asks: dict[int, Tell] = {}
        self._numbers = itertools.count(1)
        self._load: Load | None = None
        self._file = ""
        self._end: WorkerDied | None = None
        self._closing = False
        child = start([] if one_pass is None else [one_pass.descriptor])
        self.pid = child.popen.pid
        self._outgoing = Outgoing(child.socket)
        try:
            self._reading = Reading(child, self._outgoing, self, patience, name=f"worker {label}")
            self._reading.thread.start()
        except BaseException:  # no descriptor or thread is left: then no process is, either
            child.abandon()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process is there, as far as is known."""
        return self._end is None

    @property
    def n_active(self) -> int:
        """Asks that have not ended."""
        return len(self._asks)

    @property
    def loading(self) -> bool:
        """Whether a load is under way."""
        return self._load is not None

    # -- asking

    def load(
        self,
        path: str | PathLike[str] | Fake,
        settings: Mapping[str, Any] | None = None,
        tell: Callable[[float], object] = ignore,
    ) -> Facts:
        """Load a model, once; waits for it, `tell` is called with fractions from 0 to 1, and again while it moves.

        `settings` are those of `hoshikage.settings` by name; the child reads no other. Raises what kept the model from
        being loaded, after which another may be tried.
        """
        what: dict[str, Any] = {"fake": path.options} if isinstance(path, Fake) else {"path": os.fsencode(path)}
        self._file = "" if isinstance(path, Fake) else os.fspath(path)
        data = framed({"load": {**what, "settings": checked_json("settings", settings or {})}})
        load = Load(tell, Future())
        with self._lock:
            self._check_alive()
            if self._load is not None or self.facts is not None:
                raise RuntimeError("a worker loads one model")
            self._load = load
        self._send(data)
        return load.outcome.result()

    def ask(self, ask: Ask | Packed, tell: Tell) -> WorkerTicket:
        """Ask the model; its events go to `tell`, Done or Failed as the last. Raises WorkerDied when it has gone."""
        ask_number = next(self._numbers)
        data = framed(ask_frame(ask_number, packed(ask) if isinstance(ask, Ask) else ask))
        with self._lock:
            self._check_alive()
            if self.facts is None:
                raise RuntimeError("no model is loaded yet")
            if not self._asks:
                self.last_step = time.monotonic()  # it had nothing to give a sign of
            self._asks[ask_number] = tell
        self._send(data)
        return WorkerTicket(self, ask_number)

    def cancel(self, ask_number: int) -> None:
        """End an ask with what is there."""
        if ask_number in self._asks:
            self._send(framed({"cancel": ask_number}))

    def close(self, patience: float = 5.0) -> None:
        """End the process, by force after `patience` seconds; its pid is gone when this returns."""
        if threading.current_thread() is self._reading.thread:
            raise RuntimeError("a worker cannot be closed from its own callbacks, which its end has to call")
        self._closing = True
        self._outgoing.finish()
        if not self._reading.ended.wait(patience):
            self._reading.kill()
        self._reading.thread.join()

    def _check_alive(self) -> None:
        if self._end is not None:
            raise self._end.anew()

    def _send(self, data: bytes) -> None:
        if self._outgoing.put(data):
            self._reading.wake()

    # -- heard, on the worker's thread

    def on_frame(self, said: dict[str, Any]) -> None:
        """What the child says."""
        self.last_step = time.monotonic()
        if "id" in said:
            self._on_event(*event_of(said))
        elif "steps" in said:
            whole(said["steps"])
            if self._load is not None:  # it is not further, but it moves
                self._call(self._load.tell, self._load.progress)
        else:
            self._on_load(said)

    def _on_event(self, ask_number: int, event: Event) -> None:
        if isinstance(event, Failed):
            event = Failed(error=without_path(event.error, self._file, self.label))
        with self._lock:
            last = isinstance(event, (Done, Failed))
            tell = self._asks.pop(ask_number, None) if last else self._asks.get(ask_number)
        if tell is None:
            raise FrameError(f"it speaks of ask {ask_number}, which is not open")
        self._call(tell, event)

    def _on_load(self, said: Mapping[str, Any]) -> None:
        load = self._load
        if load is None:
            raise FrameError("it speaks of a load that nobody asked for")
        if "loading" in said:
            load.progress = number(said["loading"])
            self._call(load.tell, load.progress)
        elif "loaded" in said:
            self.facts, self._load = facts_of(said["loaded"]), None
            load.outcome.set_result(self.facts)
        elif "refused" in said:
            self._load = None
            load.outcome.set_exception(without_path(error_of(said["refused"]), self._file, self.label))
        else:
            raise FrameError(f"{sorted(said)} is no frame of a worker")

    def on_line(self, line: str) -> None:
        """What the child prints."""
        self._call(self._on_log, self.label, line)

    def on_end(self, code: int, why: str) -> None:
        """The child is gone."""
        with self._lock:
            asks, self._asks = self._asks, {}
            load, self._load = self._load, None
            self._end = self._told_end(code, why, load is not None)
        for tell in asks.values():
            self._call(tell, Failed(error=self._end.anew()))
        if load is not None:
            load.outcome.set_exception(Cancelled("the load was given up") if self._closing else self._end)
        if not self._closing:
            self._call(self._on_death, self._end)

    def _told_end(self, code: int, why: str, loading: bool) -> WorkerDied:
        if self._closing:
            return WorkerDied(f"the worker of {self.label!r} was told to end")
        how = f"was ended: {why}" if why else ending(code)
        if loading and code < 0 and not why:
            return DiedLoading(f"the worker of {self.label!r} {how} while it loaded: most likely out of memory")
        return WorkerDied(f"the worker of {self.label!r} {how}", "its lines in the log say why" if loading else "")

    def _call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """One who listens badly hurts nobody else."""
        try:
            callback(*arguments)
        except Exception:
            traceback.print_exc()


def without_path(error: HoshikageError, path: str, label: str) -> HoshikageError:
    """The same error with the model's name in its sentence where its path stood, which is no client's business."""
    if not path:
        return error
    told, sentence = (error.args[:1], error.args[1:]) if isinstance(error, FileError) else ((), error.args)
    folder = os.path.join(os.path.dirname(path), "")  # noqa: PTH118, PTH120 -- as llama.cpp writes it, of other parts
    cleaned = (
        part.replace(path, label).replace(folder, "" if len(folder) > 1 else folder) if isinstance(part, str) else part
        for part in sentence
    )
    return type(error)(*told, *cleaned)


def framed(value: Mapping[str, Any]) -> bytes:
    """A frame for the child; what it cannot hold is the caller's mistake."""
    try:
        return frame(value)
    except (FrameError, TypeError) as error:
        raise ParameterError("ask", str(error), "ask for less at a time") from None
