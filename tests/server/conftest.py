"""Servers for tests: each a process of its own, spoken to over a socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TinyModel
from tests.house import ROOT
from tests.server.client import Client

QUIET = {"HOSHIKAGE_CONFIG_PATH": "", "HOSHIKAGE_THREADS": "1", "HOSHIKAGE_THREADS_BATCH": "1", "HOST": "127.0.0.1"}
# With flash attention the last digits depend on where in the cache a prompt lies: on what was asked before.
SAME_EVERY_TIME = {
    "HOSHIKAGE_FLASH_ATTN": "off", "HOSHIKAGE_CACHE_TYPE_K": "f32", "HOSHIKAGE_CACHE_TYPE_V": "f32",
    "DIFFUSION_QUALITY": "exact",  # what balanced chooses depends on what passes were measured to cost
}  # fmt: skip


def at_home(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}


class Server:
    """A running server."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.log = folder / "log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "DIFFUSION_"))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.server.child", str(folder)],
                cwd=ROOT,
                env={**ours, **at_home(folder), **QUIET, **SAME_EVERY_TIME, **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log.read_text()
        self.client = Client(self.url)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def children(server: Server) -> list[int]:
    """The processes that a server has started."""
    return children_of(server.process.pid)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # that one has ended meanwhile
            parent = entry.read_text(errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found.append(int(entry.parent.name))
    return sorted(found)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208


NewServer = Callable[..., Server]


def write_map(folder: Path, tiny: TinyModel) -> None:
    """Two models of a hash, a real diffusion model, and one whose file is none."""
    llada = tiny("llada")
    broken = folder / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(40))
    entries: dict[str, Any] = {
        label: {"path": str(path.parent), "model": path.name, "stop": []}
        for label, path in {"fake": llada, "fake-slow": llada, "tiny": llada, "broken": broken}.items()
    }
    (folder / "model_map.json").write_text(json.dumps(entries))


@pytest.fixture
def new_server(tmp_path: Path, tiny_model: TinyModel) -> Iterator[NewServer]:
    """`new_server(VARIABLE="value")`: a server of one's own."""
    servers: list[Server] = []

    def start(**environment: str) -> Server:
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        write_map(folder, tiny_model)
        servers.append(Server(folder, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("server")
    write_map(folder, tiny_model)
    server = Server(folder)
    yield server
    server.close()
