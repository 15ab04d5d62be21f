"""The child process of a worker: `python -P -m hoshikage.worker SOCKET [ONE_PASS]`, the descriptors that it was given.

It ends when its socket does, and nothing else that a terminal or an operator sends ends it before.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from socket import socket

from hoshikage.errors import HoshikageError
from hoshikage.worker.wire import frame

LIKELY = "500"  # of 1000: when memory runs out, the kernel takes this process before its parent


def settle(descriptors: list[int]) -> None:
    """Make this process one that only its parent ends, and that ends quickly."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # writing down many gigabytes would take minutes
    faulthandler.enable()
    with suppress(OSError):  # some sandboxes forbid it; it is a wish only
        Path("/proc/self/oom_score_adj").write_text(LIKELY)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)


def main(arguments: list[str]) -> None:
    """Listen, and work for ever."""
    end, *shared = [int(argument) for argument in arguments]
    settle([end, *shared])
    parent = socket(fileno=end)
    os.environ.setdefault("HOSHIKAGE_LOG", "warn")  # before the library is loaded, which reads it then
    try:
        from hoshikage.worker.hearing import Hearing
        from hoshikage.worker.loop import Loop
        from hoshikage.worker.speech import Speech

        loop = Loop(Speech(parent), shared[0] if shared else None)
        Hearing(parent, loop).start()
        loop.run()
    except HoshikageError as error:
        refuse(parent, error)
    except BaseException:
        traceback.print_exc()
    os._exit(1)  # what is wrong here is wrong for all asks


def refuse(parent: socket, error: HoshikageError) -> None:
    """There is no library that works: whoever wants a model loaded is told why that cannot be."""
    if parent.recv(1):
        parent.sendall(frame({"refused": error}))


if __name__ == "__main__":
    main(sys.argv[1:])
