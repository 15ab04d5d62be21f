"""`hoshikage stop`: end a running server as SIGTERM does, and wait until it is gone; or unload one of its models.

On the same machine that is the end of its process; elsewhere, or through the wall of a container, the moment when it
no longer listens. Ctrl-C ends the waiting only.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoshikage.cli import complain
from hoshikage.cli.remote import Remote, add_server_flags, segment, server_of
from hoshikage.cli.screen import one_line
from hoshikage.errors import NoServerError, RefusedError

AFTERWARDS = 30.0  # seconds beyond DRAIN_TIMEOUT: for workers to end, on a busy machine
BETWEEN = 0.1  # seconds between two looks at a server that has no process here


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="LABEL", nargs="?", help="unload this model, and leave the server running")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_server_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    server = server_of(arguments)
    facts = unload(server, arguments.model) if arguments.model is not None else end(server)
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(one_line(f"{facts.get('model') or server.url} {facts['status']}"))
    return 0


def unload(server: Remote, label: str) -> dict[str, Any]:
    """Let a model go as soon as nobody uses it; does not wait for that."""
    card = server.ask("POST", f"/admin/models/{segment(label)}/unload")
    status = "is not in memory" if card.get("state") == "cold" else "leaves memory once its work is done"
    return {"server": server.url, "model": label, "status": status}


def end(server: Remote) -> dict[str, Any]:
    """End the server, and come back when it has ended. Raises RefusedError when that takes too long."""
    said = server.ask("POST", "/admin/stop")
    drain = float(said.get("seconds") or 0)
    complain(f"the server stops; what runs has {drain:.0f} s to finish")
    seconds = drain + AFTERWARDS
    ended = has_ended(said, seconds)
    if ended is False or (ended is None and not falls_silent(server, seconds)):
        raise RefusedError(f"{server.url} has not stopped within {seconds:.0f} s", "look into its log, or kill it")
    return {"server": server.url, "status": "no longer answers" if ended is None else "has stopped"}


def has_ended(said: Mapping[str, Any], seconds: float) -> bool | None:
    """Whether the server's process ends within so many seconds; None where its number means nothing to us."""
    if said.get("pid_namespace") != Path("/proc/self/ns/pid").stat().st_ino:
        return None
    try:
        process = os.pidfd_open(int(said["pid"]))
    except ProcessLookupError:
        return True
    except (OSError, KeyError, TypeError, ValueError):
        return None  # this kernel is older than such descriptors
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


def falls_silent(server: Remote, seconds: float) -> bool:
    """Whether nothing answers any more within so many seconds."""
    until = time.monotonic() + seconds
    while listens(server):
        if time.monotonic() > until:
            return False
        time.sleep(BETWEEN)
    return True


def listens(server: Remote) -> bool:
    try:
        server.answer("GET", "/health")
    except NoServerError:
        return False
    return True
