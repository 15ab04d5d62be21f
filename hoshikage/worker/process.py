"""The child process of a worker: how it is started, and in which words its end is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, socket, socketpair

# A crash is told by its signal and by Python's own few lines; a debugger that llama.cpp starts would take seconds.
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Child:
    """A process with what its parent holds of it; all of it is given back by `release`."""

    popen: subprocess.Popen[bytes]
    socket: socket
    log: int  # what it prints
    pid_fd: int  # readable once it has ended

    def release(self) -> None:
        """Close the descriptors of a process that has ended."""
        self.socket.close()
        os.close(self.log)
        os.close(self.pid_fd)


def start(shared: Sequence[int] = ()) -> Child:
    """A worker without a model. `shared` are descriptors that it is given beside its socket."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    log, printed = os.pipe()
    try:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "hoshikage.worker", *map(str, [theirs.fileno(), *shared])],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=[theirs.fileno(), *shared],
            start_new_session=True,  # what the terminal sends, it sends to the parent alone
            env={**os.environ, **ENVIRONMENT},
        )
    except BaseException:
        ours.close()
        os.close(log)
        raise
    finally:
        theirs.close()
        os.close(printed)
    ours.setblocking(False)
    os.set_blocking(log, False)
    return Child(popen, ours, log, os.pidfd_open(popen.pid))


def ending(code: int) -> str:
    """How a process ended, by its return code."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"
