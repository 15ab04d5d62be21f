"""The digest of what decides what is learnt: a run that goes on under another is another run.

Of the program that learns the text counts, but for comments and docstrings. Of what it learns from counts what comes
out: a task may be judged otherwise, or written more plainly, as long as it asks the same.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import astuple
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from . import tokenizer as vocabulary
from .corpus import Stream
from .objective import Block, Causal, Elastic, Masked, Objective

HERE = Path(__file__).parent
LEARNING = (
    HERE / "corpus",
    HERE / "objective",
    HERE / "grow.py",
    HERE / "learn.py",
    HERE / "lessons.py",
    HERE / "model.py",
    HERE / "optimise.py",
)
N_BATCHES = 200  # some 13,000 questions: of the rarest kind hundreds


def digest() -> str:
    return hashlib.sha256(f"{_program()}{_taught()}".encode()).hexdigest()


def files() -> Iterator[Path]:
    for place in LEARNING:
        yield from sorted(place.glob("*.py")) if place.is_dir() else [place]


def _program() -> str:
    whole = hashlib.sha256()
    for file in files():
        whole.update(f"{file.parent.name}/{file.name}\0{_meaning(file.read_text(encoding='utf-8'))}\0".encode())
    return whole.hexdigest()


@cache
def _taught() -> str:
    """What tasks, tokenizer and objectives make of one seed."""
    objectives: tuple[Objective, ...] = (Causal(), Block(8), Masked(), Masked(shift=True), Elastic())
    stream = Stream(vocabulary.load(), "the digest", n_tokens=4096)
    whole = hashlib.sha256()
    for number, (batch, objective) in enumerate(zip(islice(stream, N_BATCHES), cycle(objectives), strict=False)):
        for part in astuple(objective.sample(batch, np.random.default_rng(number))):
            whole.update(f"{part.shape}".encode() + part.tobytes())
    return whole.hexdigest()


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


if __name__ == "__main__":
    print(digest()[:12])  # as a card names it
