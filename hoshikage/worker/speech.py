"""The child's end of the socket: what it says, from any of its threads, and what it cannot live without."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable
from socket import socket
from typing import Any

from hoshikage.errors import ParameterError
from hoshikage.worker import wire
from hoshikage.worker.ask import Answered, Done, Failed, Said
from hoshikage.worker.frames import event_frame
from hoshikage.worker.wire import FrameError, frame


def leave() -> None:
    """End this process at once, in the middle of a pass as well: the kernel gives back all that it holds."""
    os._exit(0)


class Speech:
    """Says frames to the parent; waits while the parent does not listen, and ends when it is gone."""

    def __init__(self, end: socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._room = select.poll()
        self._room.register(end, select.POLLOUT)

    def say(self, **words: Any) -> None:
        """One frame."""
        self._send(frame(words))

    def hint(self, **words: Any) -> None:
        """One frame, if that waits for nobody: a later one will say as much."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._room.poll(0):
                self._socket.sendall(frame(words))
        except OSError:
            leave()
        finally:
            self._lock.release()

    def tell(self, number: int, *events: Said | Answered | Done | Failed) -> bool:
        """What has happened to an ask. False: no frame holds one of these, so it was told that the ask has failed."""
        frames, all_fit = event_bytes(number, events)
        self._send(frames)
        return all_fit

    def _send(self, data: bytes) -> None:
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            leave()


def event_bytes(number: int, events: Iterable[Said | Answered | Done | Failed]) -> tuple[bytes, bool]:
    """Their frames, and whether these are all: the first that no frame holds is told as the failure of the ask, behind
    which nothing may be said of it."""
    frames = b""
    for event in events:
        try:
            frames += frame(event_frame(number, event))
        except FrameError:
            cause = f"what it comes to is longer than {wire.MOST >> 20} MiB"
            failure = Failed(error=ParameterError("ask", cause, "ask for less at a time"))
            return frames + frame(event_frame(number, failure)), False
    return frames, True
