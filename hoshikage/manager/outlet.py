"""The way of events to the one who asked: in order, one at a time, and one last one whatever happens.

Safe from any thread. Nobody waits for another's `tell`: who finds it running leaves its event there and goes on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from hoshikage.manager.job import Tell
from hoshikage.worker.ask import Done, Event, Failed

log = logging.getLogger(__name__)


class Outlet:
    """Tells one listener. After `Done` or `Failed` nothing is told any more; a listener that raises hears no more."""

    def __init__(self, tell: Tell, on_broken: Callable[[], object]) -> None:
        self._tell: Tell | None = tell
        self._on_broken = on_broken
        self._events: deque[Event] = deque()
        self._telling = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether the last event has been told, or nobody listens."""
        return self._tell is None

    def put(self, event: Event) -> None:
        """Tell it now, or leave it to the thread that is telling."""
        self._events.append(event)
        # Looked at again after the lock is free: an event that came in between has nobody else.
        while self._events and self._telling.acquire(blocking=False):
            try:
                self._tell_all()
            finally:
                self._telling.release()

    def _tell_all(self) -> None:
        while self._events:
            event = self._events.popleft()
            tell = self._tell
            if tell is None:
                continue
            if isinstance(event, Done | Failed):
                self._tell = None
            try:
                tell(event)
            except Exception:
                log.exception("a listener failed; it hears no more")
                self._tell = None
                self._on_broken()
