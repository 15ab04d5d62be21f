"""The child process of a worker: how it is started, and in which words its end is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, socket, socketpair

from hoshikage import _libs
from hoshikage.errors import WorkerDied

# A crash is told by its signal and by Python's own few lines; a debugger that llama.cpp starts would take seconds.
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Child:
    """A process with what its parent holds of it; all of it is given back by `release`."""

    popen: subprocess.Popen[bytes]
    socket: socket
    log: int  # what it prints
    pid_fd: int  # readable once it has ended
    bell: int  # rung by those who want the attention of the thread that reads all these

    def abandon(self) -> None:
        """End a process that nobody listens to."""
        self.popen.kill()
        self.popen.wait()
        self.release()

    def release(self) -> None:
        """Close the descriptors of a process that has ended."""
        self.socket.close()
        os.close(self.log)
        os.close(self.pid_fd)
        os.close(self.bell)


def start(shared: Sequence[int] = ()) -> Child:
    """A worker without a model. `shared` are descriptors that it is given beside its socket."""
    with ExitStack() as undo:
        try:
            bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, bell)
            ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)  # sockets close by themselves
            undo.callback(ours.close)
            log, printed = os.pipe()
            undo.callback(os.close, log)
            popen = executed(theirs, printed, shared)
            child = Child(popen, ours, log, os.pidfd_open(popen.pid), bell)
        except OSError as error:
            cause = f"no process for a model could be started: {error.strerror}"
            raise WorkerDied(cause, "free memory, or raise the limits of processes and open files") from error
        undo.pop_all()
    ours.setblocking(False)
    os.set_blocking(log, False)
    return child


def executed(theirs: socket, printed: int, shared: Sequence[int]) -> subprocess.Popen[bytes]:
    """The process; what it was given is closed here, whether there is one or not."""
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hoshikage.worker", *map(str, [theirs.fileno(), *shared])],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=[theirs.fileno(), *shared],
            start_new_session=True,  # what the terminal sends, it sends to the parent alone
            env={**os.environ, **ENVIRONMENT, **_libs.variables()},
        )
    finally:
        theirs.close()
        os.close(printed)


def ending(code: int) -> str:
    """How a process ended, by its return code."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"
