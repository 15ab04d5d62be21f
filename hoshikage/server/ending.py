"""`POST /admin/stop`: what SIGTERM does, for an owner who is not on the machine or does not know the process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from blacksheep import Response

from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange


async def stop(services: Services, exchange: Exchange) -> Response:
    """End the server: nothing new is let in, what runs is finished within DRAIN_TIMEOUT or else cancelled."""
    del exchange
    signal.raise_signal(signal.SIGTERM)  # one way to the end: this answer is finished like all that run
    who = {"pid": os.getpid(), "pid_namespace": pid_namespace()}
    return json_response({"status": "ok", "seconds": services.settings.drain_timeout, **who}, 202)


def pid_namespace() -> int:
    """What tells whether the number of a process means the same to somebody else: outside a container it does not."""
    return Path("/proc/self/ns/pid").stat().st_ino
