"""A process with nothing but a manager in it, measured from inside: prints one line of JSON.

python -m tests.host FOLDER rest              nothing is loaded
python -m tests.host FOLDER cycles N          a model is loaded, asked and unloaded, again and again
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from hoshikage.manager.loader import Loader
from hoshikage.manager.manager import Manager
from hoshikage.settings import Settings
from hoshikage.worker.ask import Done
from tests.managers import EXACT, comes, managing, map_of, submit
from tests.workers import eventually

LOOK = 2.0  # seconds in which nothing should happen


def memory() -> dict[str, int]:
    """kB of this process, by kind."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()


def switches() -> dict[str, int]:
    """How often each thread has begun to run."""
    counted = {}
    for task in Path("/proc/self/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text(encoding="ascii").splitlines())
        counted[task.name] = int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])
    return counted


def rest(folder: Path) -> dict[str, Any]:
    manager = Manager(Settings(), map_of(folder, "a"))
    manager.start()
    manager.models()
    before = switches()
    threading.Event().wait(LOOK)
    after = switches()
    del before[str(os.getpid())], after[str(os.getpid())]  # the main thread, which has waited here
    loaded = [name for name in ("numpy", "hoshikage._core") if name in sys.modules]
    return {
        "rss": memory()["Rss"],
        "before": before,
        "after": after,
        "loaded": loaded,
        "thread": manager._thread.native_id,
    }


def cycles(folder: Path, n: int) -> dict[str, Any]:
    """What is in memory before the first load and after each; `ram` in the folder is a RAM disk, `a.gguf` a model."""
    for number in range(60_000):
        sys.intern(f"name {number}")  # Python's table of names doubles once in a while: it does so now
    settings = {**EXACT, "staging": "on", "ramdisk_path": str(folder / "ram"), "great_timeout": 1e-6}
    with managing(map_of(folder, "a"), Loader(Settings(**settings)), **settings) as manager:
        manager.models()  # what a listing remembers of a file is no memory of a model
        seen = [look(folder)]
        for _ in range(n):
            last = submit(manager, "a")[0].end()[-1]
            assert last == Done(), last
            staged = comes(manager, "a", lambda state: state.state == "resident").n_bytes_staged
            manager.unload("a")
            assert eventually(lambda: manager._steward.keeper.is_empty)
            # The thread that put the copy into the RAM disk, or takes it away, may not have closed it yet.
            eventually(lambda: descriptors() <= seen[0]["descriptors"])
            seen.append(look(folder) | {"staged": staged})
    return {"seen": seen}


def look(folder: Path) -> dict[str, int]:
    """Of the kB those that are no file's: these change with whatever else runs."""
    gc.collect()
    now = memory()
    return {
        "kB": now["Pss_Anon"] + now["Pss_Shmem"],
        "children": len(children()),
        "descriptors": descriptors(),
        "in_ram": sum(path.lstat().st_size for path in (folder / "ram").rglob("*.gguf")),
    }


def descriptors() -> int:
    """Files and pipes that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def main(folder: str, what: str, *numbers: str) -> None:
    found = {"rest": rest, "cycles": cycles}[what](Path(folder), *map(int, numbers))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
