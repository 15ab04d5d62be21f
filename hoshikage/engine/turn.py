"""Taking turns: a lock that knows who holds it, so that a thread never waits for itself."""

from __future__ import annotations

import threading


class Turn:
    """One thread works, others wait. It may be given back by another thread than took it (a dropped stream)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise RuntimeError(
                "this thread has an unfinished stream of the same engine: read it to its end or close it"
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = None
        self._lock.release()
