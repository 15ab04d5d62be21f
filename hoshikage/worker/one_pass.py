"""One forward pass at a time over all workers of a parent, where they would only take the cores from each other.

Two byte locks on a file without a name that every worker holds: the kernel gives them back when a process ends,
however it does. Who wants a pass takes the first, then the second, and lets the first go: so whoever has just had a
pass stands behind the one that waits, and two workers alternate.
"""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

NEXT, PASS = 0, 1  # bytes of the file


class OnePass:
    """The parent's: a file to be handed to each worker."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("hoshikage-one-pass", os.MFD_CLOEXEC)

    def __enter__(self) -> OnePass:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; workers that have it go on."""
        os.close(self.descriptor)


class Gate:
    """A worker's: holds the pass in a `with`. One thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.waits = False  # for the pass of another; any thread may look

    def __enter__(self) -> None:
        self.waits = True
        try:
            self._take()
        finally:
            self.waits = False

    def _take(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, NEXT)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, PASS)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, NEXT)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, PASS)
