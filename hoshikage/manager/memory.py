"""How much memory the host has for us: the machine's, within the limits that a container or a service gives.

Reads `/proc` and the cgroups of this process, version 1 and 2. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

UNLIMITED = 1 << 62  # version 1 writes a number near 2^63 for no limit


class Host(NamedTuple):
    """Bytes: what could be taken now, and what there is at all."""

    available: int
    total: int


def host(root: Path = Path("/")) -> Host:
    """The narrowest of the machine and of each cgroup that this process is in."""
    machine = table(root / "proc/meminfo")
    bounds = [Host(machine["MemAvailable"] * 1024, machine["MemTotal"] * 1024), *cgroups(root)]
    return Host(min(bound.available for bound in bounds), min(bound.total for bound in bounds))


def cgroups(root: Path) -> Iterator[Host]:
    """The bounds of this process's cgroup and of those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        if controllers == "":
            yield from limits(base, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            usage = "memory.usage_in_bytes"
            yield from limits(base / "memory", path, "memory.limit_in_bytes", usage, "total_inactive_file")


def limits(base: Path, path: str, most: str, used: str, cached: str) -> Iterator[Host]:
    """From the process's own group up to the root that is seen from here; a group without a limit bounds nothing."""
    here = base / path.lstrip("/")
    for folder in [here, *here.parents]:
        limit, usage = number(folder / most), number(folder / used)
        if limit is not None and usage is not None and limit < UNLIMITED:
            # Files that were read and are not in use go when somebody needs the memory.
            yield Host(max(0, limit - usage + table(folder / "memory.stat").get(cached, 0)), limit)
        if folder == base:
            return


def number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or no number (`max`)."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None


def table(path: Path) -> dict[str, int]:
    """Lines such as `MemTotal:  5 kB` or `inactive_file 5`."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.replace(":", " ").split()[:2] for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
