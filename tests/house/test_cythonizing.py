"""A performance hint of Cython ends the build, and goes on doing so until it is heeded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.house import ROOT

PROGRAM = f"""
import sys
from pathlib import Path
from setuptools import Extension
sys.path.insert(0, {str(ROOT / "llama.cpp")!r})
import cythonizing
module = Extension("module", ["module.pyx"])
cythonizing.translate([module], Path("build"), debug=False)
print(module.sources[0])
"""
TAKES_THE_GIL = "cdef void careless() nogil:\n    pass\n\ncdef void caller() noexcept nogil:\n    careless()\n"


def translate(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    source = folder / "module.pyx"
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    return subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=False)


def test_a_hint_ends_the_build_every_time(tmp_path: Path) -> None:
    for _ in range(2):
        done = translate(tmp_path, TAKES_THE_GIL)
        assert done.returncode != 0
        assert "say noexcept or except -1" in done.stderr
        assert "module.pyx:1" in done.stderr
    done = translate(tmp_path, TAKES_THE_GIL.replace("careless() nogil", "careless() noexcept nogil"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("build/cython/module.c")


def test_an_error_is_shown_without_a_stack(tmp_path: Path) -> None:
    done = translate(tmp_path, "cdef int f() nogil:\n    return [1]\n")
    assert done.returncode != 0
    assert "module.pyx:2" in done.stderr
    assert "hoshikage: Cython refused what is named above" in done.stderr


def test_other_directives_translate_again(tmp_path: Path) -> None:
    assert "Cythonizing" in translate(tmp_path, "x = 1\n").stdout
    assert "Cythonizing" not in translate(tmp_path, "x = 1\n").stdout
    (tmp_path / "build/cython/directives").write_text("those of yesterday")
    assert "Cythonizing" in translate(tmp_path, "x = 1\n").stdout
