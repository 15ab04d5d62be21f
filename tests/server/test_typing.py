"""An editor that asks at every keystroke and gives up: slots come free, memory stays, and the last is served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.server.client import Client, until
from tests.server.conftest import NewServer, Server, children, descriptors

N = 200
GAP: dict[str, Any] = {
    "model": "fake-slow", "input_prefix": "def f(", "input_suffix": "):", "n_predict": 512, "early_stop": False,
}  # fmt: skip


def counted(client: Client) -> dict[str, float]:
    """What the manager has counted."""
    text = client.get("/metrics").body.decode()
    counts = re.findall(r'^hoshikage_manager\{what="(\w+)"\} (\S+)$', text, re.MULTILINE)
    gauges = re.findall(r"^hoshikage_(active|queue) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in [*counts, *gauges]}


def type_on(client: Client, n: int) -> None:
    """So many requests, each given up as soon as it is sent."""
    for _ in range(n):
        client.begin(GAP, "/infill").close()
    until(lambda: idle(client), "all slots are free")


def idle(client: Client) -> bool:
    counts = counted(client)
    return counts["active"] == counts["queue"] == 0


def resident(pid: int) -> int:
    """Bytes of memory that a process has to itself."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kilobytes) for kilobytes in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE)) << 10


def taken(server: Server) -> int:
    return sum(map(resident, [server.process.pid, *children(server)]))


def test_an_editors_typing(new_server: NewServer) -> None:
    server = new_server()
    client = server.client
    assert client.post("/infill", {**GAP, "n_predict": 4}).status == 200
    type_on(client, N)
    n_files, counts = descriptors(server.process.pid), counted(client)
    type_on(client, N)
    last = client.post("/infill", {**GAP, "n_predict": 4})
    assert last.status == 200 and last.json["tokens_predicted"] > 0
    after = counted(client)
    assert after["failed"] - counts["failed"] <= N and after["done"] > counts["done"]
    assert after["begun"] - counts["begun"] <= N + 1
    until(lambda: descriptors(server.process.pid) <= n_files, "connections are let go")
    assert "Traceback" not in server.log.read_text()


def test_typing_takes_no_memory(new_server: NewServer) -> None:
    """What is allocated once depends on how many requests met: it grows for a while, and then no more."""
    server = new_server()
    levels: list[int] = []
    while len(levels) < 4 or levels[-1] > 1.05 * levels[-4]:
        assert len(levels) < 40, f"memory stays: {levels}"
        type_on(server.client, N)
        levels.append(taken(server))


def test_a_slot_is_free_within_a_step(new_server: NewServer) -> None:
    """One place for all: the next is served though the one before had hundreds of steps to go."""
    client = new_server(HOSHIKAGE_BATCH="1").client
    whole = client.post("/infill", {**GAP, "n_predict": 64}).json["hoshikage"]
    for _ in range(20):
        with client.begin({**GAP, "stream": True}, "/infill") as connection:
            assert b"200" in connection.recv(1 << 16)  # it has the place
        answer = client.post("/infill", {**GAP, "n_predict": 1}).json
        assert answer["hoshikage"]["seconds"] < whole["seconds"], "one step of each, and not the 512 of the first"
