"""The child's other threads: one reads what the parent sends, one makes answers of what is asked.

Reading waits for nothing else, so that a cancel is heard and the parent's end is noticed whatever the rest does. Making
answers takes a tokenizer and a template, which may be slow: the steps of others do not wait for it.
"""

from __future__ import annotations

import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from socket import socket
from typing import Any

from hoshikage.errors import Cancelled
from hoshikage.worker.ask import Done, Failed
from hoshikage.worker.frames import ask_of, table, whole
from hoshikage.worker.loop import Loop, Task, as_ours
from hoshikage.worker.prepare import MAKERS, answers_for, value_of
from hoshikage.worker.speech import leave
from hoshikage.worker.wire import FrameError, Frames

AT_ONCE = 1 << 18
BEAT = 1.0  # seconds between two looks at a pass
PATIENCE = 1  # seconds for the end of the process that renders templates


class Hearing:
    """Starts both threads."""

    def __init__(self, end: socket, loop: Loop) -> None:
        self._socket = end
        self._loop = loop
        self._asked: SimpleQueue[Task] = SimpleQueue()
        self._news = select.poll()
        self._news.register(end, select.POLLIN)

    def start(self) -> None:
        """Hear from now on."""
        threading.Thread(target=self._read, name="reading", daemon=True).start()
        threading.Thread(target=self._prepare, name="preparing", daemon=True).start()

    # -- reading

    def _read(self) -> None:
        frames = Frames()
        try:
            while data := self._next():
                for frame in frames.feed(data):
                    self._take(frame)
        except ConnectionError:
            pass  # the same end, seen otherwise
        except FrameError as error:
            print(f"the parent sent what is no frame: {error}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        self._leave()

    def _next(self) -> bytes:
        """What the parent sends next. While that takes its time, a pass may: it is told that one still moves."""
        while not self._news.poll(BEAT * 1000 if self._loop.tasks or self._loop.loading else None):
            self._loop.show_life()
        return self._socket.recv(AT_ONCE)

    def _leave(self) -> None:
        """There is no parent, or none that is understood."""
        signal.alarm(PATIENCE)  # which ends this process, whatever keeps it
        if self._loop.engine is not None:
            self._loop.engine.abandon()
        leave()

    def _take(self, frame: dict[str, Any]) -> None:
        takers: dict[str, Callable[[Any], None]] = {
            "ask": self._take_ask,
            "cancel": self._take_cancel,
            "load": self._take_load,
        }
        if len(frame) != 1 or (word := next(iter(frame))) not in takers:
            raise FrameError(f"{sorted(frame)} is nothing to ask of a worker")
        takers[word](frame[word])

    def _take_ask(self, value: Any) -> None:
        number, ask = ask_of(value)
        if number in self._loop.tasks:
            raise FrameError(f"ask {number} is there twice")
        task = self._loop.tasks[number] = Task(number, ask)
        self._asked.put(task)

    def _take_cancel(self, value: Any) -> None:
        task = self._loop.tasks.get(whole(value))
        if task is None:
            return  # it has ended meanwhile
        task.cancelled = True
        task.board.cancel()
        self._loop.call(self._loop.cancel, task)
        if all(other.cancelled for other in list(self._loop.tasks.values())):  # nobody waits for the pass
            self._loop.board.cancel()

    def _take_load(self, value: Any) -> None:
        self._loop.loading = True
        self._loop.call(self._loop.load, table(value))

    # -- preparing

    def _prepare(self) -> None:
        while True:
            task = self._asked.get()
            try:
                self._prepare_one(task)
            except Exception as error:
                self._loop.end(task, Failed(error=as_ours(error)))

    def _prepare_one(self, task: Task) -> None:
        loop = self._loop
        if task.cancelled:
            raise Cancelled
        assert loop.engine is not None
        if task.ask.kind in MAKERS:
            loop.call(loop.join, task, answers_for(loop.engine, task.ask, task.board))
        else:
            loop.end(task, Done(value=value_of(loop.engine, task.ask, task.board)))
