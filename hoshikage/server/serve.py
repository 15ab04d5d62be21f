"""The server's life: bind, serve, stop. Runs in the main thread of its process.

The first SIGINT, SIGTERM or SIGHUP lets nothing new in, gives what runs its DRAIN_TIMEOUT and then cancels it; a second
one does not wait. Either way every worker has ended before the process does, with exit code 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator

import uvicorn
import uvloop

from hoshikage.registry.presence import announced
from hoshikage.server.app import build
from hoshikage.server.listening import BACKLOG, bind, url_of
from hoshikage.server.services import Services
from hoshikage.server.shell.protocol import connections
from hoshikage.server.shell.shell import Shell

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AFTERWARDS = 5.0  # seconds for answers to be written once their jobs have ended
SPARE_FILES = 256  # descriptors beside those of connections
log = logging.getLogger(__name__)


class Serving(uvicorn.Server):
    """uvicorn's server, told by us when to end."""

    def __init__(self, config: uvicorn.Config, services: Services, shell: Shell, sockets: list[socket.socket]) -> None:
        super().__init__(config)
        self._services = services
        self._shell = shell
        self._sockets = sockets
        self._stops: list[threading.Thread] = []
        self._left = threading.Event()
        self._when_ready: Callable[[], object] = lambda: None

    def run_to_the_end(self, when_ready: Callable[[], object]) -> None:
        """Serve until a signal; returns when nothing is left."""
        self._when_ready = when_ready
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())
        self._services.files.close()
        self._left.set()
        for thread in self._stops:
            thread.join()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._when_ready()

    async def _all(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                loop.add_signal_handler(number, self.stop)
        try:
            await self.serve(self._sockets)
            await self._services.rates.finish()
        finally:
            if not self._stops:
                self._stop_manager()
            threading.Thread(target=self._leave, name="leave", daemon=True).start()

    def _leave(self) -> None:
        """End the process though a thread hangs, in a look at a file: Python waits for each of its threads."""
        for thread in self._stops:
            thread.join()
        if not self._left.wait(AFTERWARDS):
            log.error("a look at a file hangs; the server ends without its end")
            os._exit(0)

    def stop(self) -> None:
        """End in order; called a second time, at once."""
        self._shell.stopping = True
        self._services.stopping.set()
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stop_manager()

    def _stop_manager(self) -> None:
        # Draining takes its time, and the loop has answers to write meanwhile.
        drain = 0.0 if self._stops else None
        thread = threading.Thread(target=self._services.manager.stop, args=(drain,), name="stop", daemon=True)
        self._stops.append(thread)
        thread.start()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are ours


def serve(services: Services, when_ready: Callable[[str], object], bound: socket.socket | None = None) -> None:
    """Serve until a signal, on a socket that is bound already or else on one of the settings' address, which may be
    refused with a ParameterError. `when_ready` is told the address.
    """
    settings = services.settings
    allow_files(settings.max_connections + SPARE_FILES)
    if bound is None:
        bound = bind(settings)
    shell = build(services)
    config = uvicorn.Config(
        shell,
        http=connections(services.limits, services.metrics),  # type: ignore[arg-type]  # it is called like a class
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=services.limits.header_bytes,
        timeout_keep_alive=services.limits.idle_seconds,  # type: ignore[arg-type]  # it goes to call_later
        timeout_graceful_shutdown=round(settings.drain_timeout + AFTERWARDS),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what a client does wrong is no news
    logging.getLogger("blacksheep.server").setLevel(logging.ERROR)
    services.metrics.watch(services.lookout.last, services.manager.pulse)
    services.manager.start()
    with announced(services.registry.map_file, url_of(bound)):
        Serving(config, services, shell, [bound]).run_to_the_end(lambda: when_ready(url_of(bound)))


def allow_files(n: int) -> None:
    """As many open files as connections may need, where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < n:
        print(f"hoshikage: this user may open {wanted} files; more connections are refused", file=sys.stderr)
