"""Cython to C: the directives of the whole package, and no way past a performance hint."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError
from machine import jobs
from setuptools import Extension

# The directives decide what Cython hints at, so they are set here and in no file.
ALWAYS = {"language_level": 3, "binding": True, "wraparound": False}
RELEASE = ALWAYS | {"boundscheck": False, "cdivision": True, "initializedcheck": False}
# Neither nonecheck, which needs the GIL at every attribute, nor overflowcheck: hashes wrap around, and mean to.
CHECKED = ALWAYS | {"boundscheck": True, "cdivision": False, "initializedcheck": True}
HINT = "performance hint: "


def translate(extensions: list[Extension], build: Path, debug: bool) -> None:
    """Gives the modules their C, translating what changed.

    A performance hint means that the GIL is taken where nobody meant to, so it ends the build. In a debug build the
    hints are about the checks.
    """
    folder = build / ("cython-debug" if debug else "cython")
    directives = CHECKED if debug else RELEASE
    stamp, wanted = folder / "directives", f"Cython {version('cython')}: {directives}"
    said: list[str] = []
    with standard_error(said):
        try:
            translated = cythonize(  # type: ignore[no-untyped-call]
                extensions,
                build_dir=str(folder),
                compiler_directives=directives,
                include_path=["."],
                force=not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted,
                nthreads=jobs(),
                emit_linenums=debug,
            )
        except CompileError:
            raise SystemExit("hoshikage: Cython refused what is named above") from None
    if not debug:
        refuse_hints(said, folder)
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted, encoding="utf-8")
    by_name = {extension.name: extension for extension in translated}
    for extension in extensions:
        done = by_name[extension.name]
        extension.sources, extension.depends, extension.language = done.sources, done.depends, done.language


@contextmanager
def standard_error(lines: list[str]) -> Iterator[None]:
    """Keeps what this process and its children write there, and passes it on at the end."""
    with tempfile.TemporaryFile() as captured:
        keep = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(keep, 2)
            os.close(keep)
            captured.seek(0)
            text = captured.read().decode(errors="replace")
            sys.stderr.write(text)
            lines += text.splitlines()


def refuse_hints(said: list[str], folder: Path) -> None:
    """Ends the build on a hint, and forgets the C that came with it, so that the next build says it again."""
    hints = [line.removeprefix(HINT) for line in said if line.startswith(HINT)]
    for hint in hints:
        for suffix in (".c", ".cpp"):
            (folder / hint.split(":")[0]).with_suffix(suffix).unlink(missing_ok=True)
    if hints:
        raise SystemExit("hoshikage: Cython would take the GIL here; say noexcept or except -1:\n" + "\n".join(hints))
