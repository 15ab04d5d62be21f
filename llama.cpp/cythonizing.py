"""Cython to C: the directives of the whole package, and no way past a performance hint."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError
from setuptools import Extension

RELEASE = {"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False, "nonecheck": False}
CHECKED = {"boundscheck": True, "wraparound": False, "cdivision": False, "initializedcheck": True, "nonecheck": True}
HINT = "performance hint: "


def translate(extensions: list[Extension], build: Path, debug: bool) -> None:
    """Gives the modules their C, translating what changed.

    A performance hint means that the GIL is taken where nobody meant to, so it ends the build.
    """
    folder = build / ("cython-debug" if debug else "cython")
    directives = {"language_level": 3, "binding": True, "embedsignature": False} | (CHECKED if debug else RELEASE)
    with tempfile.TemporaryFile() as captured:
        keep = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            # The directives decide what a hint is about, so they are set here and in no file.
            translated = cythonize(  # type: ignore[no-untyped-call]
                extensions,
                build_dir=str(folder),
                compiler_directives=directives,
                include_path=["."],
                nthreads=os.cpu_count() or 1,
                emit_linenums=debug,
            )
        except CompileError:
            raise SystemExit("hoshikage: Cython refused what is named above") from None
        finally:
            os.dup2(keep, 2)
            os.close(keep)
            captured.seek(0)
            said = captured.read().decode(errors="replace")
            sys.stderr.write(said)
    refuse_hints(said, folder)
    by_name = {extension.name: extension for extension in translated}
    for extension in extensions:
        done = by_name[extension.name]
        extension.sources, extension.depends, extension.language = done.sources, done.depends, done.language


def refuse_hints(said: str, folder: Path) -> None:
    """Ends the build on a hint, and forgets the C that came with it, so that the next build says it again."""
    hints = [line.removeprefix(HINT) for line in said.splitlines() if line.startswith(HINT)]
    for hint in hints:
        for suffix in (".c", ".cpp"):
            (folder / hint.split(":")[0]).with_suffix(suffix).unlink(missing_ok=True)
    if hints:
        raise SystemExit("hoshikage: Cython would take the GIL here; say noexcept or except -1:\n" + "\n".join(hints))
