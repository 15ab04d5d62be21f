"""Work in a thread of its own, so that Ctrl-C is heard at once, in the middle of a forward pass as well."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

PATIENCE = 2.0  # seconds for work that was cancelled; far more than a pass needs to notice
T = TypeVar("T")


class Background(Generic[T]):
    """Iterates over what `work(tell)` tells, and raises what it raises.

    The first Ctrl-C calls `cancel`, and the work ends in its own time; the second is an ordinary KeyboardInterrupt.
    """

    def __init__(self, work: Callable[[Callable[[T], None]], None], cancel: Callable[[], None]) -> None:
        self._work = work
        self._cancel = cancel
        self._told: SimpleQueue[T | BaseException | None] = SimpleQueue()
        self.interrupted = False

    def __iter__(self) -> Iterator[T]:
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            while (told := self._told.get()) is not None:
                if isinstance(told, BaseException):
                    raise told
                yield told
        finally:
            signal.signal(signal.SIGINT, before)
            self._cancel()  # nobody listens any more; a process should not end in the middle of a forward pass
            thread.join(PATIENCE)

    def _on_interrupt(self, *_: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self._cancel()

    def _run(self) -> None:
        try:
            self._work(self._told.put)
            self._told.put(None)
        except BaseException as error:  # raised again where the work is waited for
            self._told.put(error)
