"""The C programs of this folder under sanitizers.

python -m pytest tests/csrc/test_sanitized.py
"""

from __future__ import annotations

import os

import pytest

from .toolchain import FORKLESS, Builder, run

ADDRESS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
THREAD = ("-O1", "-fsanitize=thread", FORKLESS)
SANITIZED = os.environ | {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


@pytest.mark.parametrize("program", ["check_scan", "check_overlay", "check_threads"])
def test_no_address_leak_or_undefined_behaviour(builder: Builder, program: str) -> None:
    run([builder.program(program, *ADDRESS)], SANITIZED)


def test_no_data_race(builder: Builder) -> None:
    run([builder.program("check_threads", *THREAD)], SANITIZED)
