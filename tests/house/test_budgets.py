"""Small files, small functions: what one can hold in one's head."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.house.sources import CYTHON, PYTHON, C, code, functions

N_LINES_OF_FILE, N_LINES_OF_FUNCTION, MEDIAN = 500, 60, 14

SOURCES = code(*PYTHON, *CYTHON, *C)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    n_lines = path.read_text(encoding="utf-8").count("\n")
    assert n_lines <= N_LINES_OF_FILE, f"{n_lines} lines"
    for function in functions(path):
        assert function.n_lines <= N_LINES_OF_FUNCTION, f"{function.name} has {function.n_lines} lines"


def test_most_functions_are_very_small() -> None:
    sizes = [function.n_lines for path in SOURCES if path.suffix != ".pyi" for function in functions(path)]
    assert len(sizes) > 100, "the functions are not found"
    assert statistics.median(sizes) <= MEDIAN


@pytest.mark.parametrize("path", code(".py", ".pyx", under="hoshikage"), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        assert ast.get_docstring(ast.parse(text))
    else:
        assert re.match(r'(# (cython|distutils): .*\n)*"""', text)
