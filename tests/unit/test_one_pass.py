"""One pass at a time: nobody is in it with another, who waits comes next, and the dead hold nothing."""

from __future__ import annotations

import mmap
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from hoshikage.worker.one_pass import Gate, OnePass
from tests.house import ROOT

# A process that takes passes and writes down when: byte 0 is "somebody is inside", then a letter for each pass.
TAKER = """
import mmap, os, sys
from hoshikage.worker.one_pass import Gate
descriptor, book, letter, n = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4])
page = mmap.mmap(book, 65536)
gate = Gate(descriptor)
print("here", flush=True)
sys.stdin.readline()
for _ in range(n):
    with gate:
        assert page[0:1] == b"\\0", "two are inside"
        page[0:1] = b"x"
        for _ in range(100000):
            pass
        at = page.find(b"\\0", 1)
        page[at:at + 1] = letter
        page[0:1] = b"\\0"
"""
HOLDER = """
import sys
from hoshikage.worker.one_pass import Gate
with Gate(int(sys.argv[1])):
    print("inside", flush=True)
    sys.stdin.read()
"""


def started(program: str, *arguments: object, shared: list[int]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, pass_fds=shared, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize("n_takers", [2, 3])
def test_passes_are_taken_in_turn(n_takers: int, tmp_path: Path) -> None:
    n = 20
    with OnePass() as one_pass, (tmp_path / "book").open("w+b") as book:
        book.truncate(65536)
        shared = [one_pass.descriptor, book.fileno()]
        takers = [started(TAKER, *shared, letter, n, shared=shared) for letter in "abc"[:n_takers]]
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write("go\n")
            taker.stdin.flush()
        assert [taker.communicate()[0] and taker.returncode for taker in takers] == [""] * n_takers
        with mmap.mmap(book.fileno(), 65536) as page:
            order = page[1 : 1 + n * n_takers].decode()
    assert sorted(order) == sorted("abc"[:n_takers] * n)
    # From where all have begun to where the first has done: whoever lets go finds another before it.
    shared_part = order[
        max(order.index(letter) for letter in "abc"[:n_takers]) : min(map(order.rindex, "abc"[:n_takers]))
    ]
    changes = sum(left != right for left, right in pairwise(shared_part))
    assert changes >= len(shared_part) // 3


def test_the_dead_hold_nothing() -> None:
    with OnePass() as one_pass:
        holder = started(HOLDER, one_pass.descriptor, shared=[one_pass.descriptor])
        holder.send_signal(signal.SIGKILL)
        with Gate(one_pass.descriptor):
            holder.communicate()
