"""What models are reckoned to take whose layers keep states, or cache keys alone, held to what llama.cpp says.

Cache and states are llama.cpp's own to 1 %; the buffer of a pass is never less than llama.cpp's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hoshikage.manager.need import CAUSAL_UBATCH, MIB, Size, cache_of_layer, compute_of
from hoshikage.manager.shape import shape_of
from tests.model.test_need import LOAD, options_of, setup_of
from tests.tiny.mamba import write_mamba
from tests.tiny.states import MODELS, write_layers

WAYS: list[dict[str, Any]] = [{"n_seq": 1}, {"n_seq": 8}, {"flash_attn": "off"}]


@pytest.mark.parametrize("architecture", ["mamba", *MODELS])
def test_a_load_with_states_takes_what_was_reckoned(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_mamba(path) if architecture == "mamba" else write_layers(path, architecture)
    shape = shape_of(path)
    for options, taken in measured(path):
        size = Size(cells=1024, n_seq=options["n_seq"], n_tokens=CAUSAL_UBATCH, n_rows=options["n_rows"])
        cache = sum(cache_of_layer(shape, layer, size, setup_of(options)) for layer in range(shape.n_layer))
        assert cache / MIB == pytest.approx(taken["KV"] + taken["RS"], rel=0.01, abs=0.01)
        assert taken["compute"] <= compute_of(shape, size, setup_of(options)) / MIB


def measured(path: Path) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """Each way, with MiB by the kind of buffer as llama.cpp reports them."""
    ways = [options_of(way) for way in WAYS]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps([(str(path), way) for way in ways])],
        env={"HOSHIKAGE_LOG": "info", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    logs = done.stderr.split("# case\n")[1:]
    return [(way, told_sizes(log)) for way, log in zip(ways, logs, strict=True)]


def told_sizes(log: str) -> dict[str, float]:
    sizes = {kind: re.findall(rf"{kind} buffer size =\s*([\d.]+) MiB", log) for kind in ("KV", "RS", "compute")}
    return {kind: sum(map(float, found)) for kind, found in sizes.items()}
