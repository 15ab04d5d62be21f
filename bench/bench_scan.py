"""How long does it take to read a row of 126,464 logits, next to three naive passes over it?

    pytest bench/bench_scan.py -s

The naive passes (naive_scan.c) are plain C at -O2: the maximum; the sum of the exponentials; entropy and second best.
Runs alternate; of each the median of five is taken, each the best of ten calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pytest

import hoshikage
from bench.results import record
from tests.csrc.test_instructions import CEILINGS, count
from tests.csrc.toolchain import ISAS, Builder, Record, find_tool, load, run

N_VOCAB, N_ROWS = 126464, 64
COMMAND = "pytest bench/bench_scan.py -s"
ROWS = np.random.default_rng(1).gumbel(0, 2, (N_ROWS, N_VOCAB)).astype(np.float32)  # 32 MB: beyond the second cache
Call = Callable[[], object]


@pytest.fixture(scope="module")
def csrc() -> ctypes.CDLL:
    return load(str(Path(hoshikage.__file__).parent / "lib" / "libhoshikage.so"))


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Call:
    target = tmp_path_factory.mktemp("naive") / "libnaive.so"
    source = Path(__file__).with_name("naive_scan.c")
    run([find_tool("cc", "no peer can be built"), "-O2", "-shared", "-fPIC", "-o", str(target), str(source), "-lm"])
    function = ctypes.CDLL(str(target)).naive_row
    arguments = (ctypes.c_void_p(ROWS.ctypes.data), N_VOCAB, (ctypes.c_float * 4)())
    return lambda: function(*arguments)


def calls(csrc: ctypes.CDLL, isa: str) -> dict[str, Call]:
    """What is measured, by name, with that instruction set; a cut restores its row first."""
    if csrc.isa_choose(isa.encode()) != 0:
        pytest.skip(f"this machine has no {isa}")
    row, out, scratch = ROWS.ctypes.data, ctypes.byref(Record()), ROWS[0].copy()
    records = (Record * N_ROWS)()
    pointers = (ctypes.c_void_p * N_ROWS)(*(ROWS[i].ctypes.data for i in range(N_ROWS)))

    def keep(top_p: float, top_k: int) -> None:
        scratch[:] = ROWS[0]
        csrc.row_keep(scratch.ctypes.data, N_VOCAB, 1.0, top_p, top_k)

    return {
        "scan": lambda: csrc.scan_row(row, N_VOCAB, out),
        "scan of 64 rows": lambda: csrc.scan_rows(pointers, N_ROWS, N_VOCAB, records, 1),
        "draw": lambda: csrc.scan_noisy_best(row, N_VOCAB, 1.0, 77),
        "top-p": lambda: keep(0.95, 0),
        "top-k": lambda: keep(0.0, 40),
    }


def seconds(call: Call) -> float:
    def once() -> float:
        start = perf_counter()
        call()
        return perf_counter() - start

    return min(once() for _ in range(10))


@pytest.mark.parametrize("isa", ISAS)
def test_against_three_naive_passes(csrc: ctypes.CDLL, naive: Call, isa: str) -> None:
    measured = calls(csrc, isa) | {"naive": naive}
    rounds = [{name: seconds(call) for name, call in measured.items()} for _ in range(5)]
    times = {name: median(each[name] for each in rounds) for name in measured}
    speed = {
        name: size / times[name] / 1e9 for name, size in (("scan", ROWS[0].nbytes), ("scan of 64 rows", ROWS.nbytes))
    }
    detail = ", ".join(f"{name} {1e6 * time:.0f} us" for name, time in times.items())
    record(
        f"scan against three naive passes, {isa}", times["naive"] / times["scan"], "times faster", asked="5",
        detail=f"{speed['scan']:.1f} GB/s, {speed['scan of 64 rows']:.1f} GB/s over 64 rows; {detail}",
        command=COMMAND,
    )  # fmt: skip
    assert times["naive"] / times["scan"] >= 5 or isa == "scalar"


@pytest.mark.parametrize(("isa", "what"), CEILINGS)
def test_instructions(isa: str, what: str, tmp_path: Path) -> None:
    per_logit = count(Builder(tmp_path), tmp_path, isa, what)
    record(
        f"instructions, {isa} {what}", per_logit, "a logit", asked=f"at most {CEILINGS[isa, what]}",
        detail="callgrind, 126,464 logits", command=COMMAND,
    )  # fmt: skip
    assert per_logit <= CEILINGS[isa, what]


@pytest.mark.parametrize("name", ["scan", "draw", "top-p", "top-k"])
def test_time(csrc: ctypes.CDLL, benchmark: Callable[[Call], object], name: str) -> None:
    """For --benchmark-compare: the best instruction set of this machine."""
    csrc.isa_choose(None)
    benchmark(calls(csrc, csrc.isa_name().decode())[name])
