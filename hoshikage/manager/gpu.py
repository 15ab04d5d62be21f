"""What GPUs there are and how much of each is free: asked in a short-lived process of its own. Any thread; blocks.

A build without a GPU's library is not asked at all. Where asking fails or finds none, the log says so.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoshikage import _libs
from hoshikage.manager.fit import Gpu

SECONDS = 60.0  # a driver that starts may take some
LONGEST = 1 << 16  # characters of an answer
NO_GPU = ("libggml-base", "libggml-cpu", "libggml-blas")

log = logging.getLogger(__name__)


def gpus(lib_path: str | None = None) -> tuple[Gpu, ...]:
    """In llama.cpp's order; `lib_path` is the folder of a build of one's own."""
    folder = Path(lib_path) if lib_path else _libs.library_folder()
    if not may_have_gpus(folder):
        return ()
    try:
        found = understood(asked(lib_path))
        if not found:
            log.warning(
                "no GPU is used: the library for one in %s finds none (its driver? a container's --gpus?)", folder
            )
        return found
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("no GPU is used: asking for them failed: %s", error)
        return ()


def may_have_gpus(folder: Path) -> bool:
    """Whether libraries for one lie in the folder."""
    libraries = (path.name for path in folder.glob("libggml-*.so*"))
    return any(not name.startswith(NO_GPU) for name in libraries)


def asked(lib_path: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """What the process prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hoshikage.probe"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
        env={**environment, **({"HOSHIKAGE_LIB_PATH": lib_path} if lib_path else {})},
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise subprocess.SubprocessError(f"the process ended with {done.returncode} and said: {said[0][:300]}")
    return done.stdout


def understood(text: str) -> tuple[Gpu, ...]:
    """The last line; what a driver prints before it is not ours."""
    lines = text[-LONGEST:].strip().splitlines()
    found = json.loads(lines[-1]) if lines else None
    devices = found.get("gpus") if isinstance(found, dict) else None
    if not isinstance(devices, list):
        raise ValueError("the answer is no list of devices")
    return tuple(map(gpu_of, devices))


def gpu_of(device: Any) -> Gpu:
    if not isinstance(device, dict):
        raise ValueError("a device is no object")
    free, total = device.get("free"), device.get("total")
    if not (isinstance(free, int) and isinstance(total, int) and 0 <= free <= total):
        raise ValueError(f"a device has {free!r} bytes free of {total!r}")
    return Gpu(str(device.get("name")), str(device.get("description")), free, total)
