"""Which body runs."""

from __future__ import annotations

import ctypes


def test_the_best_is_taken_unless_another_is_named(library: ctypes.CDLL) -> None:
    assert library.isa_choose(b"scalar") == 0
    assert library.isa_name() == b"scalar"
    assert library.isa_choose(b"sse9") == -1
    assert library.isa_name() == b"scalar"
    assert library.isa_choose(b"") == 0
    best = library.isa_name()
    assert library.isa_choose(None) == 0
    assert library.isa_name() == best
