"""Work that takes no longer than what it works on: twice as much takes about twice as long."""

from __future__ import annotations

import time
from collections.abc import Callable

FEW, MANY = 500, 8000
ALLOWED = 100  # times: 16 and what a busy machine adds; work that takes the square takes 256 times as long
SHORTEST = 1e-5  # seconds that can be told apart


def assert_linear(work: Callable[[int], object]) -> None:
    """`work(n)` does something with so many pieces."""
    few = min(seconds(work, FEW) for _ in range(5))
    assert min(seconds(work, MANY) for _ in range(3)) < ALLOWED * max(few, SHORTEST)


def seconds(work: Callable[[int], object], n: int) -> float:
    began = time.thread_time()
    work(n)
    return time.thread_time() - began
