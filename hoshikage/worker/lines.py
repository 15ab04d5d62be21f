"""What a worker prints, line by line: each of bounded length, and the last ones kept to tell why it died."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

LONGEST = 2000  # bytes of a line; what is longer goes on in the next
KEPT = 20


class Lines:
    """Bytes in, whole lines out."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.last: deque[str] = deque(maxlen=KEPT)

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that these bytes complete."""
        self._bytes += data
        while (end := self._bytes.find(b"\n", 0, LONGEST)) >= 0 or len(self._bytes) >= LONGEST:
            line = self._bytes[: end if end >= 0 else LONGEST]
            del self._bytes[: len(line) + (end >= 0)]
            yield from self._kept(line)

    def rest(self) -> Iterator[str]:
        """The last line, which nobody ended."""
        line, self._bytes = self._bytes, bytearray()
        yield from self._kept(line)

    def _kept(self, line: bytearray) -> Iterator[str]:
        text = line.decode(errors="replace").strip()
        if text:
            self.last.append(text)
            yield text
