"""How fast a file can be read from where it lies, past what memory holds of it already. Any thread; blocks briefly."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

BLOCK = 4 << 20  # bytes of a read: a disk's own speed shows, not its latency
MOST_BLOCKS = 24
SECONDS = 0.5  # measured for so long, or a little longer where one read takes that
ALIGNED = 4096  # what reads past the cache begin at

Read = Callable[[int, int], int]


def read_speed(path: Path, now: Callable[[], float] = time.perf_counter) -> float:
    """Bytes a second, from blocks all over the file. Raises OSError."""
    begun, n_read = now(), 0
    with opened(path) as read:
        for offset in places(path.stat().st_size):
            n_read += read(offset, BLOCK)
            if now() - begun >= SECONDS:
                break
    return n_read / max(now() - begun, 1e-9)


def places(n_bytes: int) -> Iterator[int]:
    """Where to read: each place once, in an order that a disk does not guess."""
    n_blocks = max(1, n_bytes // BLOCK)
    for number in Random(0).sample(range(n_blocks), min(n_blocks, MOST_BLOCKS)):
        yield number * BLOCK


class opened:  # noqa: N801 -- used as a function
    """A file whose reads go past the cache, or have it forget first where the file system knows no such thing."""

    def __init__(self, path: Path) -> None:
        self._buffer = mmap.mmap(-1, BLOCK)  # begins at a page, as such reads want it
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
            os.preadv(self._fd, [memoryview(self._buffer)[:ALIGNED]], 0)
            self._direct = True
        except OSError:
            self._close()
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._direct = False

    def __enter__(self) -> Read:
        return self._read

    def __exit__(self, *_: object) -> None:
        self._close()
        self._buffer.close()

    def _read(self, offset: int, n: int) -> int:
        if not self._direct:
            os.posix_fadvise(self._fd, offset, n, os.POSIX_FADV_DONTNEED)
        with memoryview(self._buffer) as view:
            return os.preadv(self._fd, [view[:n]], offset)

    def _close(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)
            self._fd = -1
