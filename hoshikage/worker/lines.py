"""What a worker prints, line by line: lines of bounded length, and no more of them than somebody can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

LONGEST = 2000  # bytes of a line; what is longer goes on in the next
FLOOD = 200  # lines a second; of more it is said how many they were


class Lines:
    """Bytes in, whole lines out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes = bytearray()
        self._clock = clock
        self._second = 0.0  # when the present one began
        self._n_lines = 0  # in it

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that these bytes complete."""
        self._bytes += data
        while (end := self._bytes.find(b"\n", 0, LONGEST)) >= 0 or len(self._bytes) >= LONGEST:
            line = self._bytes[: end if end >= 0 else LONGEST]
            del self._bytes[: len(line) + (end >= 0)]
            yield from self._bounded(line)

    def rest(self) -> Iterator[str]:
        """The last line, which nobody ended, and how many were left out."""
        line, self._bytes = self._bytes, bytearray()
        yield from self._bounded(line)
        yield from self._left_out()

    def _bounded(self, line: bytearray) -> Iterator[str]:
        if self._clock() - self._second >= 1:
            yield from self._left_out()
            self._second = self._clock()
        text = line.decode(errors="replace").strip()
        if not text:
            return
        self._n_lines += 1
        if self._n_lines <= FLOOD:
            yield text

    def _left_out(self) -> Iterator[str]:
        if self._n_lines > FLOOD:
            yield f"({self._n_lines - FLOOD} lines more)"
        self._n_lines = 0
