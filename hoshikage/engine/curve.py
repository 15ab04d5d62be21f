"""What a pass costs: measured once for a model on a machine, and kept in the cache folder of the person who runs it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Protocol

from hoshikage._context import usable_cores
from hoshikage._devices import gpus
from hoshikage._libs import library_folder
from hoshikage.engine.quality import BLOCK_LENGTH, CURVE_ROWS, Curve
from hoshikage.settings import Settings

MOST_ROUNDS, LONG_ENOUGH = 8, 0.5  # seconds after which no other round begins
DECIDES = (  # what passes cost, of the settings
    *("n_threads", "n_threads_batch", "device_preference", "n_gpu_layers", "main_gpu", "split_mode", "tensor_split"),
    *("flash_attn", "type_k", "type_v"),
)
N_CTX = 256  # positions of the session that is measured: the most rows, and some that are cached


class MeasuredSession(Protocol):
    """What is timed."""

    def pass_by_hand(self, ids: Any, lo: int, hi: int, end: int, *, last: int) -> Any: ...
    def forget(self) -> None: ...


def measure(session: MeasuredSession, n_vocab: int) -> Curve:
    """The quickest pass of each size, of several where they are short: what is kept for ever should not be what some
    other program did to this machine in one moment. The first pass of a context also pays for its buffers. No more
    rows of logits are fetched than those of a block: a real pass reads no others."""
    ids = [i % n_vocab for i in range(N_CTX)]
    first = N_CTX - max(CURVE_ROWS)
    session.pass_by_hand(ids, 0, first, first, last=1)
    session.pass_by_hand(ids, first, first + 1, first + 1, last=1)
    seconds = dict.fromkeys(CURVE_ROWS, inf)
    began = time.perf_counter()
    for _ in range(MOST_ROUNDS):
        for n_rows in CURVE_ROWS:
            start = time.perf_counter()
            session.pass_by_hand(ids, first, first + n_rows, first + n_rows, last=min(n_rows, BLOCK_LENGTH))
            seconds[n_rows] = min(seconds[n_rows], time.perf_counter() - start)
        if time.perf_counter() - began > LONG_ENOUGH:
            break
    session.forget()
    return Curve.of(seconds)


def stored(path: Path) -> Curve | None:
    """The curve in that file; None where there is none that can be used."""
    try:
        seconds = {int(rows): float(value) for rows, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    sound = set(seconds) == set(CURVE_ROWS) and all(0 < value < 1e6 for value in seconds.values())
    return Curve.of(seconds) if sound else None


def store(path: Path, curve: Curve) -> None:
    """Write it whole or not at all. A folder that cannot be written to costs a measurement at each load."""
    text = json.dumps(dict(zip(map(str, curve.rows), curve.seconds, strict=True)))
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()


def processor() -> str:
    """Its name, as far as the system tells."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    names = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def place_of(model: Any, settings: Settings, environment: Mapping[str, str] = os.environ) -> Path:
    """The file for this model as it is loaded here."""
    # A read-only root has no folder for temporary files: it is looked for only where there is no home.
    home = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or tempfile.gettempdir()) / ".cache")
    machine = (platform.machine(), processor(), usable_cores(), *(gpu["description"] for gpu in gpus()))
    about = [
        *(str(getattr(model, name, "")) for name in ("served_as", "description", "n_params", "size", "n_vocab")),
        *(getattr(settings, name) for name in DECIDES),
        *machine,
        str(library_folder()),  # llama.cpp may be another build
    ]
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]
    return Path(home) / "hoshikage" / "curves" / f"{name}.json"
