"""How much memory does a canvas of 4096 positions take over the weights, next to llama-diffusion-cli?

    pytest bench/bench_memory.py -s

Each is a process of its own that computes one pass, or two where one is a block's alone. Its peak is what the kernel
says when it has ended, to a small process that started it: a program's peak is at least that of whoever started it, and
these tests may just have written a file of weights. The weights are taken off by the size of their file. What we take
is held against the bound that `hoshikage inspect MODEL --ctx 4096 --n-seq 1` prints: one request, as theirs is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.peers import diffusion_command, in_blocks
from bench.results import record
from bench.shapes import LLADA_SMALL, model
from hoshikage._context import usable_cores

N_POSITIONS, BLOCK = 4096, 32
COMMAND = "pytest bench/bench_memory.py -s"
OURS = """
import sys, hoshikage
n, block = map(int, sys.argv[2:])
with hoshikage.load(sys.argv[1], n_ctx=n, n_seq=1) as engine:
    list(zip(range(2), engine.generate([1] * 64, max_tokens=n - 64, block_length=block, plan="dual", stream=True)))
"""
STARTER = """
import os, sys
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def path() -> Path:
    return model("llada-0.4b", LLADA_SMALL)


def peak_of(command: list[str | Path]) -> int:
    """Bytes of memory that a process had at most."""
    starter = [sys.executable, "-S", "-c", STARTER, *command]
    told = subprocess.run(starter, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    code, peak = map(int, told.stderr.splitlines()[-1].split())
    assert code == 0, f"{command[0]} ended with {code}: {told.stderr.decode(errors='replace')}"
    return peak


def test_a_peak_is_not_that_of_who_asks() -> None:
    spent = np.ones(50_000_000)
    assert peak_of(["true"]) < 100e6 < spent.nbytes


def test_memory_against_the_example(path: Path) -> None:
    weights = path.stat().st_size
    ours = peak_of([sys.executable, "-c", OURS, str(path), str(N_POSITIONS), str(BLOCK)])
    told = subprocess.run(
        [sys.executable, "-m", "hoshikage", "inspect", str(path), "--json", "--ctx", str(N_POSITIONS), "--n-seq", "1"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    bound = json.loads(told.stdout)["memory"]["total"]
    record(
        "peak memory at canvas 4096, of the bound that inspect prints", 100 * ours / bound, "%", asked="at most 100",
        detail=f"{ours / 1e6:.0f} of {bound / 1e6:.0f} MB, weights {weights / 1e6:.0f}", command=COMMAND,
    )  # fmt: skip
    theirs = peak_of(diffusion_command(path, N_POSITIONS, 1, usable_cores(), *in_blocks(N_POSITIONS)))
    share = (ours - weights) / (theirs - weights)
    record(
        "peak memory over weights at canvas 4096, of llama-diffusion-cli's", 100 * share, "%", asked="at most 20",
        detail=f"{(ours - weights) / 1e6:.0f} and {(theirs - weights) / 1e6:.0f} MB", command=COMMAND,
    )  # fmt: skip
    assert ours <= bound
    assert share <= 0.2
