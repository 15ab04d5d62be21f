"""The child's main thread: it loads the model, and works on the answers that come and go. All of llama.cpp is here.

Other threads give it calls to make (`call`) and get its attention; between two steps it makes them. While there is
neither a call nor work it sleeps.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, TypeVar

from hoshikage._board import Board
from hoshikage._model import gpu_offload
from hoshikage.engine import engine as engines
from hoshikage.engine.answer import Answer
from hoshikage.engine.desk import Desk, News
from hoshikage.engine.engine import Engine
from hoshikage.errors import Cancelled, HoshikageError, InternalError, MemoryExhausted
from hoshikage.settings import Settings, replaced
from hoshikage.worker.ask import Ask, Done
from hoshikage.worker.fake import FakeSpeaker
from hoshikage.worker.frames import raw, table
from hoshikage.worker.one_pass import Gate
from hoshikage.worker.prepare import facts_of
from hoshikage.worker.speech import Speech
from hoshikage.worker.teller import Teller

T = TypeVar("T")
ALIVE = 1.0  # seconds between two signs of life while nothing else is said
PROGRESS = 0.01  # of a load, between two words about it


@dataclass(slots=True, eq=False)
class Task:
    """An ask that has not ended."""

    number: int
    ask: Ask
    cancelled: bool = False
    board: Board = field(default_factory=Board)  # of what is computed before its answers are there
    teller: Teller | None = None  # once it is at the desk


class Loop:
    """`run` never returns: the process ends with its socket."""

    def __init__(self, speech: Speech, one_pass: int | None) -> None:
        self.board = Board()
        self.tasks: dict[int, Task] = {}
        self.engine: Engine | None = None
        self.loading = False  # from when one is heard of until its end is said
        self._speech = speech
        self._one_pass = one_pass
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._desk: Desk | None = None
        self._held: AbstractContextManager[Any] = nullcontext()  # while something is computed
        self._spoke = time.monotonic()
        self._sign_seen = 0

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Let the loop do something, after the present step. Any thread."""
        self._calls.put(partial(function, *arguments))
        self.board.attend()

    def end(self, task: Task, *events: Any) -> None:
        """The last events of an ask. Any thread, once."""
        del self.tasks[task.number]
        self._speech.tell(task.number, *events)

    def show_life(self) -> None:
        """A sign of it if a pass has moved since the last look: one may take minutes. The reading thread."""
        passes = [self.board, *(task.board for task in list(self.tasks.values()))]
        sign = effort() if self.loading else sum(board.nodes for board in passes)
        in_line = self.loading and isinstance(self._held, Gate) and self._held.waits  # for passes of others
        if sign != self._sign_seen or in_line:
            self._sign_seen = sign
            self._speech.hint(steps=self.board.steps)

    def run(self) -> NoReturn:
        """Make calls and steps, for ever."""
        while True:
            if self._desk is None or not self._desk.busy:
                self._calls.get()()
            try:
                while True:
                    self._calls.get_nowait()()
            except Empty:
                self._step()

    # -- calls

    def load(self, wanted: Mapping[str, Any]) -> None:
        """Load a model, and say how that went."""
        try:
            if self.engine is not None:
                raise InternalError("a model is loaded already")
            settings = replaced(Settings(), table(wanted.get("settings", {})))
            self._use(self._loaded(wanted, settings), settings)
        except Exception as error:
            self.loading = False
            self._speech.say(refused=as_ours(error))

    def join(self, task: Task, answers: list[Answer]) -> None:
        """Work on the answers to an ask."""
        assert self._desk is not None
        task.teller = Teller(task.ask.watch, len(answers))
        for answer in answers:
            self._desk.join(answer, watched=task.ask.watch != "end", owner=task)
        if task.cancelled:
            self.cancel(task)

    def cancel(self, task: Task) -> None:
        """End what is at the desk of an ask; if nothing is yet, `join` will find it cancelled."""
        if self._desk is not None and self.tasks.get(task.number) is task:
            self._tell(self._desk.leave(task))

    # -- inside

    def _use(self, engine: Engine, settings: Settings) -> None:
        self._held = self._gate(settings)
        if settings.quality != "exact":
            self._get_ready(engine)
        engine.compute_by(self._do)
        self.engine, self._desk = engine, engine.desk(n_expected=settings.n_seq, gate=self._held)
        self.loading = False
        self._speech.say(loaded=facts_of(engine))

    def _get_ready(self, engine: Engine) -> None:
        engine.compute_by(self._compute)
        try:
            engine.get_ready()
        except Exception as error:  # it may do without, and a request that cannot is told
            print(as_ours(error), file=sys.stderr)

    def _compute(self, work: Callable[[], T]) -> T:
        with self._held:
            return work()

    def _do(self, work: Callable[[], T]) -> T:
        """Have the loop compute something; waits for it. Not on the loop's own thread."""
        outcome: Future[T] = Future()
        self.call(partial(fulfil, outcome, partial(self._compute, work)))
        return outcome.result()

    def _loaded(self, wanted: Mapping[str, Any], settings: Settings) -> Engine:
        if "fake" in wanted:
            return Engine(FakeSpeaker(**table(wanted["fake"])), settings)
        path = os.fsdecode(raw(wanted.get("path")))
        return engines.load(path, settings=settings, progress=self._progress_teller())

    def _progress_teller(self) -> Callable[[float], None]:
        told = 0.0

        def tell(progress: float) -> None:
            nonlocal told
            if progress >= told + PROGRESS:
                told = progress
                self._speech.say(loading=progress)

        return tell

    def _gate(self, settings: Settings) -> AbstractContextManager[Any]:
        """Taking turns with other workers is for those that compute on the same cores."""
        on_gpu = gpu_offload() and settings.n_gpu_layers != 0
        alone = settings.passes == "many" or (settings.passes == "auto" and on_gpu)
        return nullcontext() if alone or self._one_pass is None else Gate(self._one_pass)

    def _step(self) -> None:
        if self._desk is None:
            return
        try:
            news = self._desk.step(self.board)
        except Cancelled:  # for all asks that were there; their calls are waiting
            self.board.reset()
            return
        self._tell(news)
        if time.monotonic() - self._spoke > ALIVE:
            self._spoke = time.monotonic()
            self._speech.say(steps=self.board.steps)

    def _tell(self, news: list[News]) -> None:
        for item in news:
            task: Task = item.owner  # type: ignore[assignment]  # as `join` gave it
            teller = task.teller
            assert teller is not None
            if teller.over:
                continue  # an answer beside it has failed
            event = teller.event(item)
            if event is not None:
                self._spoke = time.monotonic()
            self._tell_event(task, teller, event)

    def _tell_event(self, task: Task, teller: Teller, event: Any) -> None:
        assert self._desk is not None
        if teller.failed:
            self._desk.leave(task)
            self.end(task, event)
        elif teller.over:
            self.end(task, event, Done())
        elif event is not None and not self._speech.tell(task.number, event):
            teller.failed = True
            self._desk.leave(task)
            del self.tasks[task.number]


def effort() -> int:
    """Grows while this process computes or reads. The passes of a load are not seen, nor how far llama.cpp is with a
    file that it maps, which may be slow to come and take no second of a processor in minutes."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(used.ru_utime + used.ru_stime) + used.ru_inblock + used.ru_majflt


def fulfil(outcome: Future[T], work: Callable[[], T]) -> None:
    """Do it, and hand over what came of it."""
    try:
        outcome.set_result(work())
    except Exception as error:
        outcome.set_exception(error)


def as_ours(error: Exception) -> HoshikageError:
    """The same as an error that can cross; what should not happen is printed whole."""
    if isinstance(error, HoshikageError):
        return error
    if isinstance(error, MemoryError):
        return MemoryExhausted("Python found no memory")
    traceback.print_exception(error, file=sys.stderr)
    return InternalError(f"{type(error).__name__} in the worker")
