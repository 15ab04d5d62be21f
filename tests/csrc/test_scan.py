"""scan_row and scan_noisy_best against the long way in float64, for every instruction set."""

from __future__ import annotations

import ctypes
import math
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import fake

from .rows import KINDS, Row, make_row, read_row, rows
from .toolchain import Record

VOCABULARY = 126464  # LLaDA's
RELATIVE, ABSOLUTE = 6e-7, 1e-30  # ABSOLUTE: exponentials below exp(-86) count as 0


def scan(csrc: ctypes.CDLL, row: Row) -> Record:
    record = Record()
    csrc.scan_row(row.ctypes.data, len(row), ctypes.byref(record))
    return record


def same(got: float, wanted: float) -> bool:
    return math.isclose(got, wanted, rel_tol=RELATIVE, abs_tol=ABSOLUTE) or (math.isnan(got) and math.isnan(wanted))


def check(record: Record, row: Row) -> None:
    wanted = read_row(row)
    exact = (record.best, record.best_logit, record.second_logit)
    assert exact == (wanted.best, wanted.best_logit, wanted.second_logit)
    assert same(record.excess, wanted.excess), (record.excess, wanted.excess)
    assert same(record.entropy, wanted.entropy), (record.entropy, wanted.entropy)
    assert record.best < 0 or record.entropy >= 0.0


@given(row=rows)
def test_a_scan_reads_what_float64_reads(csrc: ctypes.CDLL, row: Row) -> None:
    check(scan(csrc, row), row)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda kind: KINDS[kind].__name__)
def test_a_whole_vocabulary(csrc: ctypes.CDLL, kind: int) -> None:
    for seed in range(3):
        row = make_row(kind, seed, VOCABULARY, holes=0.1 * seed, offset=seed)
        check(scan(csrc, row), row)


@pytest.mark.parametrize("gap", [0.0, 1e-7, 0.1, 1, 17, 40, 70, 85])
@pytest.mark.parametrize("best", [-90.0, 0.0, 35.3, 199.0, 201.0, 1e4])
def test_near_certainty_keeps_its_digits(csrc: ctypes.CDLL, gap: float, best: float) -> None:
    row = np.full(3000, -np.inf, dtype=np.float32)
    row[1234], row[2999] = best, best - gap
    check(scan(csrc, row), row)


@given(row=rows, place=st.integers(0, 1 << 30), bad=st.sampled_from([np.nan, -np.nan, np.inf]))
def test_nan_and_infinity_are_found_wherever_they_are(csrc: ctypes.CDLL, row: Row, place: int, bad: float) -> None:
    row[place % len(row)] = bad
    check(scan(csrc, row), row)
    assert csrc.scan_noisy_best(row.ctypes.data, len(row), 0.7, 11) == -1
    assert csrc.scan_noisy_best(row.ctypes.data, len(row), 0.0, 11) == -1


def test_an_empty_row(csrc: ctypes.CDLL) -> None:
    assert scan(csrc, np.empty(0, dtype=np.float32)).best == -2


def test_equal_logits_go_to_the_lower_token(csrc: ctypes.CDLL) -> None:
    row = np.zeros(5000, dtype=np.float32)
    row[[0, 7, 4000]] = -0.0, -1.0, -0.0
    assert scan(csrc, row).best == 0
    row[[17, 18, 2100, 4999]] = 3.0
    record = scan(csrc, row)
    assert (record.best, record.best_logit, record.second_logit) == (17, 3.0, 3.0)


@pytest.mark.parametrize("n_threads", [0, 1, 3, 40])
def test_rows_are_scanned_alike_on_any_number_of_threads(csrc: ctypes.CDLL, n_threads: int) -> None:
    many = [make_row(i % len(KINDS), i, 997, holes=0.0, offset=i % 5) for i in range(33)]
    pointers = (ctypes.c_void_p * len(many))(*(row.ctypes.data for row in many))
    alone = [bytes(scan(csrc, row)) for row in many]

    def scan_all() -> None:
        records = (Record * len(many))()
        csrc.scan_rows(pointers, len(many), 997, records, n_threads)
        results.append([bytes(record) for record in records])

    results: list[list[bytes]] = []
    callers = [threading.Thread(target=scan_all) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [alone] * 4


# ---- draws ----------------------------------------------------------------------------------------------------------


def noisy_best(row: Row, temperature: float, key: int) -> int:
    """scan_noisy_best, the long way. (NumPy's log may differ from C's in the last bit: no near-tie is that near.)"""
    finite = np.flatnonzero(np.isfinite(row))
    if len(finite) == 0:
        return -2
    noise = fake.noise_gumbel(np.array([key], dtype=np.uint64), finite)
    values = row[finite].astype(np.float64)
    return int(finite[np.argmax(values + temperature * noise if temperature > 0 else values)])


temperatures = st.sampled_from([-1.0, 0.0, 1e-300, 1e-40, 1e-6, 0.05, 0.3, 1.0, 2.0, 100.0, 1e20, 1e37, 1e300])


@given(row=rows, temperature=temperatures, key=st.integers(0, (1 << 64) - 1))
def test_a_draw_is_the_argmax_of_the_noisy_logits(csrc: ctypes.CDLL, row: Row, temperature: float, key: int) -> None:
    assert csrc.scan_noisy_best(row.ctypes.data, len(row), temperature, key) == noisy_best(row, temperature, key)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_draws_from_a_whole_vocabulary(csrc: ctypes.CDLL, temperature: float) -> None:
    for seed in range(20):
        row = make_row(seed % 2, seed, VOCABULARY, holes=0.0, offset=seed % 7)
        key = csrc.noise_key(seed, 3, 5)
        assert csrc.scan_noisy_best(row.ctypes.data, len(row), temperature, key) == noisy_best(row, temperature, key)


def test_no_narrow_winner_is_pruned(csrc: ctypes.CDLL) -> None:
    """Two equal logits, a vector apart: the second is drawn whenever its noise is the larger, by however little."""
    row = np.full(33, -np.inf, dtype=np.float32)
    row[[0, 32]] = 0.0
    keys = fake.noise_key(5, 0, np.arange(20000))
    wanted = np.where(fake.noise_gumbel(keys, 32) > fake.noise_gumbel(keys, 0), 32, 0)
    assert [csrc.scan_noisy_best(row.ctypes.data, 33, 1.0, int(key)) for key in keys] == wanted.tolist()


def test_draws_follow_the_softmax(csrc: ctypes.CDLL) -> None:
    logits = np.array([0.0, 1.0, 2.5, -np.inf, -1.0], dtype=np.float32)
    temperature, n_draws = 1.7, 20000
    p = np.exp(logits / temperature)
    p /= p.sum()
    drawn = [csrc.scan_noisy_best(logits.ctypes.data, 5, temperature, csrc.noise_key(1, 0, i)) for i in range(n_draws)]
    counts = np.bincount(drawn, minlength=5)
    deviation: Any = np.abs(counts - n_draws * p) / np.sqrt(n_draws * p * (1 - p) + 1e-9)
    assert counts[3] == 0
    assert deviation.max() < 4.5
