"""Builds the C layer and the C programs of this folder, alone: no Python headers, no llama.cpp."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "hoshikage" / "csrc"
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{CSRC}"]
FORKLESS = "-DFORKLESS"  # emulators and TSan do not survive a fork of many threads
ISAS = ("neon", "scalar") if platform.machine() == "aarch64" else ("avx512", "avx2", "scalar")


class Record(ctypes.Structure):
    """scan_record of scan.h."""

    _fields_ = (
        ("best", ctypes.c_int32),
        ("best_logit", ctypes.c_float),
        ("second_logit", ctypes.c_float),
        ("excess", ctypes.c_float),
        ("entropy", ctypes.c_float),
    )


def find_tool(name: str, why: str) -> str:
    """The path of a program, or the test is skipped."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed: {why}")


class Builder:
    """Compiles csrc once for each compiler and set of flags, and programs with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[tuple[str, ...], list[str]] = {}

    def program(self, name: str, *flags: str, compiler: str = "cc") -> str:
        """The program of `name`.c in this folder."""
        objects = self.compiled(compiler, flags)
        target = objects[0].removesuffix(".o") + f"-{name}"
        self.call(compiler, flags, ["-o", target, str(HERE / f"{name}.c"), *objects, "-lm", "-ldl"], self.folder)
        return target

    def library(self) -> str:
        flags = ("-fPIC",)
        target = str(self.folder / "libcsrc.so")
        self.call("cc", flags, ["-shared", "-o", target, *self.compiled("cc", flags), "-lm"], self.folder)
        return target

    def compiled(self, compiler: str, flags: tuple[str, ...]) -> list[str]:
        key = (compiler, *flags)
        if key not in self.objects:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            self.call(compiler, flags, ["-c", *map(str, sorted(CSRC.glob("*.c")))], folder)
            self.objects[key] = sorted(map(str, folder.glob("*.o")))
        return self.objects[key]

    @staticmethod
    def call(compiler: str, flags: tuple[str, ...], arguments: list[str], folder: Path) -> None:
        path = find_tool(compiler, "the C layer cannot be built with it")
        run([path, *FLAGS, *flags, *arguments], folder=folder)


def run(command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """What the command wrote; its failure is the test's, with all it said."""
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\nreturned {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def load(path: str) -> ctypes.CDLL:
    """The library with its argument types; ctypes lets go of the GIL during calls."""
    library = ctypes.CDLL(path)
    i32, u32, u64, f32, f64, pointer = (
        ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_float, ctypes.c_double, ctypes.c_void_p,
    )  # fmt: skip
    signatures = {
        "noise_key": (u64, u64, u32, u32),
        "noise_uniform": (f64, u64, u32),
        "noise_gumbel": (f64, u64, u32),
        "noise_perturb": (f64, f32, f64, u64, u32),
        "scan_row": (None, pointer, i32, pointer),
        "scan_rows": (None, pointer, i32, i32, pointer, i32),
        "scan_noisy_best": (i32, pointer, i32, f64, u64),
        "row_keep": (None, pointer, i32, f64, f64, i32),
        "row_top": (i32, pointer, i32, i32, pointer, pointer),
        "row_scale": (None, pointer, i32, f32),
        "row_guide": (None, pointer, pointer, i32, f32),
        "isa_name": (ctypes.c_char_p,),
        "isa_choose": (ctypes.c_int, ctypes.c_char_p),
        "fakerow_hash": (u64, pointer, i32, u64),
        "fakerow_fill": (None, u64, i32, pointer, i32),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
