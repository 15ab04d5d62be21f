"""The digest of the sources that decide what is learnt, and how: a run that goes on under others is another run."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from hoshikage.evaluate import tasks

HERE = Path(__file__).parent
DECIDING = (
    HERE / "corpus",
    HERE / "objective",
    HERE / "model.py",
    HERE / "optimise.py",
    HERE / "tokenizer.py",
    HERE / "tokenizer.json",
    Path(tasks.__file__).parent,
)


def digest() -> str:
    """Of all of them, by name. Comments and docstrings do not count: no question is another for them."""
    whole = hashlib.sha256()
    for file in files():
        text = file.read_text(encoding="utf-8")
        meaning = _meaning(text) if file.suffix == ".py" else text
        whole.update(f"{file.parent.name}/{file.name}\0{meaning}\0".encode())
    return whole.hexdigest()


def files() -> Iterator[Path]:
    for place in DECIDING:
        yield from sorted(place.glob("*.py")) if place.is_dir() else [place]


def _meaning(source: str) -> str:
    """The program without what only people read."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for part in ("body", "orelse", "finalbody"):
            lines = getattr(node, part, None)
            if isinstance(lines, list):
                setattr(node, part, [line for line in lines if not _is_told(line)])
    return ast.unparse(tree)


def _is_told(line: ast.stmt) -> bool:
    """Whether it is a text that nobody uses: a docstring of a module, a class, a function or a name."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
