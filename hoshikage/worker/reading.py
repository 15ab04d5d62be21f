"""The parent's thread for one child: what it says, what it prints, what it has not yet read, and that it has ended."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Any, Protocol

from hoshikage.worker.lines import Lines
from hoshikage.worker.outgoing import Outgoing
from hoshikage.worker.process import Child
from hoshikage.worker.wire import FrameError, Frames

AT_ONCE = 1 << 18  # bytes read before the others get their turn
GRACE = 1.0  # seconds between the end of what it says and its own
AT_THE_END = 1 << 22  # bytes that a process may leave behind and still be heard


class Hears(Protocol):
    """Who is told, on this thread."""

    def on_frame(self, frame: dict[str, Any]) -> None:
        """A frame was said; FrameError ends the child."""

    def on_line(self, line: str) -> None:
        """A line was printed."""

    def on_end(self, code: int, why: str) -> None:
        """The process is gone; `why` says for what it was killed here. The last call."""


class Reading:
    """Runs from `start` until the child is gone, which `ended` tells."""

    def __init__(self, child: Child, outgoing: Outgoing, hears: Hears, patience: float, name: str) -> None:
        self._child = child
        self._outgoing = outgoing
        self._hears = hears
        self._patience = patience
        self._frames, self._lines = Frames(), Lines()
        self._lock = threading.Lock()
        self._released = False
        self._poll = select.poll()
        self._why = ""
        self._hung_up: float | None = None  # when its socket ended
        self._silent = False  # what it prints has ended
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def wake(self) -> None:
        """There is something to push. Any thread."""
        with self._lock:
            if not self._released:
                os.eventfd_write(self._child.bell, 1)

    def kill(self, why: str = "") -> None:
        """End the child now. Any thread."""
        self._why = self._why or why
        self._child.popen.kill()

    def _run(self) -> None:
        try:
            self._watch()
            self._hear_the_rest()
        finally:  # whatever happens here, nobody waits for a child that nobody reads
            self._child.popen.kill()
            try:
                self._hears.on_end(self._child.popen.wait(), self._why)
            finally:
                self._release()
                self.ended.set()

    def _watch(self) -> None:
        child = self._child
        for fd in (child.socket.fileno(), child.log, child.pid_fd, child.bell):
            self._poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in self._poll.poll(self._timeout())}
            if child.log in ready:
                self._read_log()
            if child.socket.fileno() in ready:
                self._read_socket()
            if child.bell in ready:
                os.eventfd_read(child.bell)
            if child.pid_fd in ready:
                return
            self._push()
            if self._hung_up is not None and self._seconds_left() <= 0:
                self.kill("it closed its socket and did not end")

    def _hear_the_rest(self) -> None:
        for _ in range(AT_THE_END // AT_ONCE):
            if not self._read_socket() and not self._read_log():
                break
        for line in self._lines.rest():
            self._hears.on_line(line)

    def _read_socket(self) -> bool:
        """Hear what was said; whether there may be more."""
        if self._hung_up is not None:
            return False
        try:
            data = self._child.socket.recv(AT_ONCE)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            return self._hang_up()
        try:
            for frame in self._frames.feed(data):
                self._hears.on_frame(frame)
        except FrameError as error:
            self.kill(f"it sent what is no frame: {error}")
            return self._hang_up()
        return True

    def _hang_up(self) -> bool:
        self._poll.unregister(self._child.socket.fileno())
        self._hung_up = time.monotonic()
        return False

    def _read_log(self) -> bool:
        if self._silent:
            return False
        try:
            data = os.read(self._child.log, AT_ONCE)
        except BlockingIOError:
            return False
        if not data:
            self._silent = True
            self._poll.unregister(self._child.log)
            return False
        for line in self._lines.feed(data):
            self._hears.on_line(line)
        return True

    def _push(self) -> None:
        left = self._outgoing.push()
        if self._hung_up is None:
            self._poll.modify(self._child.socket.fileno(), select.POLLIN | (select.POLLOUT if left else 0))
        if left and self._seconds_left() <= 0:
            self.kill(f"it has read nothing for {self._patience:g} s")

    def _timeout(self) -> float | None:
        """Milliseconds until something has to be done about a child that neither speaks nor ends."""
        if self._hung_up is not None or self._outgoing.stuck_since is not None:
            return 1000 * max(0.0, self._seconds_left())
        return None

    def _seconds_left(self) -> float:
        now = time.monotonic()
        since = self._outgoing.stuck_since
        left = self._patience if since is None else since + self._patience - now
        return left if self._hung_up is None else min(left, self._hung_up + GRACE - now)

    def _release(self) -> None:
        with self._lock:  # nobody rings a bell whose number somebody else has by then
            self._released = True
            self._child.release()
