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
from hoshikage.cli.models import one_line
from hoshikage.cli.remote import Remote, add_server_flags, segment, server_of
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
    server.ask("POST", f"/admin/models/{segment(label)}/unload")
    return {"server": server.url, "model": label, "status": "leaves memory once its work is done"}


def end(server: Remote) -> dict[str, Any]:
    """End the server, and come back when it has ended."""
    said = server.ask("POST", "/admin/stop")
    drain = float(said.get("seconds") or 0)
    complain(f"the server stops; what runs has {drain:.0f} s to finish")
    process = process_of(said)
    try:
        wait(server, process, drain + AFTERWARDS)
    finally:
        if process is not None:
            os.close(process)
    return {"server": server.url, "status": "no longer answers" if process is None else "has stopped"}


def process_of(said: Mapping[str, Any]) -> int | None:
    """The server's process as a descriptor that becomes readable at its end; None where its number means nothing."""
    if said.get("pid_namespace") != Path("/proc/self/ns/pid").stat().st_ino:
        return None
    try:
        return os.pidfd_open(int(said["pid"]))
    except (OSError, KeyError, TypeError, ValueError):
        return None  # it has ended meanwhile, or this kernel is older than such descriptors


def wait(server: Remote, process: int | None, seconds: float) -> None:
    """Until the process is gone, or until nothing listens. Raises RefusedError when that takes too long."""
    until = time.monotonic() + seconds
    if process is not None:
        gone = bool(select.select([process], [], [], seconds)[0])
    else:
        while not (gone := not listens(server)) and time.monotonic() < until:
            time.sleep(BETWEEN)
    if not gone:
        raise RefusedError(f"{server.url} has not stopped within {seconds:.0f} s", "look into its log, or kill it")


def listens(server: Remote) -> bool:
    try:
        server.answer("GET", "/health")
    except NoServerError:
        return False
    return True
