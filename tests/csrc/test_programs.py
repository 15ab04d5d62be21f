"""The C programs of this folder: with both compilers, as a library that is unloaded, and on an emulated aarch64."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from tests import fake

from .toolchain import FORKLESS, ISAS, Builder, find_tool, run


def test_threads_end_with_the_library(builder: Builder) -> None:
    run([builder.program("check_threads", "-fPIC"), builder.library()])


def fake_line() -> str:
    """What check_scan must print of the fake model."""
    first, last = fake.fake_logits([5, 0, 126463], 70, 9)[2, [0, 69]]
    return f"fake {float(first).hex()} {float(last).hex()}"


def spoken(line: str) -> str:
    """C and Python write hexadecimal floats with more or fewer zeros."""
    name, *numbers = line.split()
    return " ".join([name, *(float.fromhex(number).hex() for number in numbers)])


@pytest.mark.parametrize("compiler", ["cc", "clang"])
def test_every_instruction_set_here(builder: Builder, compiler: str) -> None:
    seen, told = run([builder.program("check_scan", "-fPIC", compiler=compiler)]).strip().rsplit("\n", 1)
    assert set(seen.split()) <= set(ISAS)
    assert "scalar" in seen.split()
    assert spoken(told) == fake_line()


@pytest.mark.skipif(platform.machine() == "aarch64", reason="tested directly")
@pytest.mark.parametrize("program", ["check_scan", "check_overlay", "check_threads"])
def test_an_emulated_aarch64(builder: Builder, program: str) -> None:
    find_tool("aarch64-linux-gnu-gcc", "install gcc-aarch64-linux-gnu to test NEON here")
    emulator = find_tool("qemu-aarch64", "install qemu-user to test NEON here")
    output = run([emulator, builder.program(program, "-static", FORKLESS, compiler="aarch64-linux-gnu-gcc")])
    if program == "check_scan":
        neon, scalar, told = output.strip().split("\n")
        assert (neon, scalar, spoken(told)) == ("neon", "scalar", fake_line())


def test_hexadecimal_floats_are_compared_as_numbers() -> None:
    assert spoken("fake 0x1p-1 -0x1.8p+0") == f"fake {np.float64(0.5).hex()} {np.float64(-1.5).hex()}"
