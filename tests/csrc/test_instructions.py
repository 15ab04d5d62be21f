"""How many instructions a logit costs: a guard that a busy machine cannot move.

A ceiling lies a fifth above what GCC 12 gives. Valgrind knows no AVX-512.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from .toolchain import Builder, find_tool, run

N_VOCAB = 126464
OPENED = {"scan": "scan_row", "draw": "scan_noisy_best", "top_p": "row_keep", "top_k": "row_keep"}
CEILINGS = {
    ("avx2", "scan"): 4.5,
    ("avx2", "draw"): 14.5,
    ("avx2", "top_p"): 30.5,
    ("avx2", "top_k"): 16.0,
    ("scalar", "scan"): 15.5,
    ("scalar", "draw"): 37.0,
}


def count(builder: Builder, folder: Path, isa: str, what: str) -> float:
    """Instructions a logit, within the function that `what` calls."""
    valgrind = find_tool("valgrind", "instructions cannot be counted")
    output = folder / "callgrind.out"
    tool = ["--tool=callgrind", f"--callgrind-out-file={output}", f"--toggle-collect={OPENED[what]}"]
    run([valgrind, *tool, builder.program("count_scan", "-O3"), isa, what])
    summary = re.search(r"^summary: (\d+)", output.read_text(), re.MULTILINE)
    assert summary is not None
    return int(summary[1]) / N_VOCAB


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the ceilings were measured on x86-64")
@pytest.mark.parametrize(("isa", "what"), CEILINGS)
def test_instructions_per_logit(builder: Builder, tmp_path: Path, isa: str, what: str) -> None:
    per_logit = count(builder, tmp_path, isa, what)
    print(f"{isa} {what}: {per_logit:.2f} instructions a logit")
    assert 0.5 < per_logit <= CEILINGS[isa, what]
