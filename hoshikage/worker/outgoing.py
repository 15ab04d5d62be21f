"""Bytes on their way to a process that may not read them: who sends never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from socket import SHUT_WR, socket


class Outgoing:
    """A backlog before a socket that does not block. `put` from any thread; `push` from the one that polls."""

    def __init__(self, end: socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._left: deque[memoryview] = deque()
        self.stuck_since: float | None = None  # when the other end last took something of what is left

    def put(self, data: bytes) -> bool:
        """Send what goes at once and keep the rest; says whether there is any."""
        with self._lock:
            self._left.append(memoryview(data))
            return self._push()

    def push(self) -> bool:
        """Send more of it; says whether something is left."""
        with self._lock:
            return self._push()

    def finish(self) -> None:
        """Say that nothing more will come, which a worker takes as its end."""
        with self._lock, suppress(OSError):  # closed, or the other end has gone: nothing is left to be said
            self._left.clear()
            self._socket.shutdown(SHUT_WR)

    def _push(self) -> bool:
        while self._left:
            try:
                n = self._socket.send(self._left[0])
            except BlockingIOError:
                self.stuck_since = self.stuck_since or time.monotonic()
                return True
            except OSError:  # it has ended, which its pid says as well
                self._left.clear()
                break
            self.stuck_since = None
            if n == len(self._left[0]):
                self._left.popleft()
            else:
                self._left[0] = self._left[0][n:]
        self.stuck_since = None
        return False
