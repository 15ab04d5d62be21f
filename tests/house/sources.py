"""The project's own files, and what the checks of structure and style ask of them."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.house import ROOT

PYTHON, CYTHON, C = (".py", ".pyi"), (".pyx", ".pxd"), (".c", ".h")


class Function(NamedTuple):
    """Where a function is and how many lines it has."""

    path: Path
    name: str
    n_lines: int


@cache
def own_files() -> tuple[Path, ...]:
    """Every file that is, or would be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = (ROOT / name for name in listed.split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


def code(*suffixes: str, under: str = "") -> list[Path]:
    return [path for path in own_files() if path.suffix in suffixes and path.is_relative_to(ROOT / under)]


def functions(path: Path) -> Iterator[Function]:
    """The functions of one file of Python, Cython or C."""
    text = path.read_text(encoding="utf-8")
    if path.suffix in PYTHON:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(path, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
    elif path.suffix in CYTHON:
        yield from indented_functions(path, text.splitlines())
    else:
        # As we write C: a body opens at the end of a line of its own level and closes in the first column.
        for body in re.finditer(r"^\w[^;{}]*?(\w+)\s*\([^;{}]*\)[^;{}]*\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            yield Function(path, body[1], body[0].count("\n") + 1)


def indented_functions(path: Path, lines: list[str]) -> Iterator[Function]:
    """Functions of Cython: from the header to the last line that is deeper than it."""
    header = re.compile(r"(\s*)(?:def|cdef|cpdef)\b(?! class\b)[^(]*?(\w+)\s*\(")
    for first, line in enumerate(lines):
        matched = header.match(line)
        if matched is None or not opens_body(lines, first):
            continue
        last = first
        for at in range(first + 1, len(lines)):
            stripped = lines[at].lstrip()
            if stripped and len(lines[at]) - len(stripped) <= len(matched[1]) and not stripped.startswith(")"):
                break
            if stripped:
                last = at
        yield Function(path, matched[2], last - first + 1)


def opens_body(lines: list[str], first: int) -> bool:
    """Whether the header that starts here ends in a colon, maybe some lines on."""
    depth = 0
    for line in lines[first : first + 10]:
        bare = line.split("#")[0].rstrip()
        depth += bare.count("(") - bare.count(")")
        if depth <= 0:
            return bare.endswith(":")
    return False
