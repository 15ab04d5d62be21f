"""Texts without spaces, in models whose splitter calls itself for each character: they end no process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hoshikage._core import Model
from hoshikage._model import LONGEST_RUN, SHORT_RUN
from hoshikage.errors import ParameterError
from hoshikage.gguf.splitting import LOOPS
from tests.conftest import TinyModel

RECURSIVE = ("llada-moe", "gpt-4o", "tekken", "deepseek-v3", "deepseek-llm", "bloom", "exaone-moe", "default")
N = 30_000  # characters; each takes up to 420 bytes of a stack of 8 MiB
# Tokenizes runs of all kinds with each model, and says of which it survived. On a thread: the first one may have more.
SURVIVES = """
import sys, threading
from hoshikage._core import Model

n, stack, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
runs = [char * n for char in ("a", "A", "aB", "7", "!", " ", "\\n", "\u00e9", "\u6f22", "a b ")] + [" " * n + "a"]

def work():
    for path in paths:
        with Model(path, n_gpu_layers=0) as model:
            for text in [*runs, "hello " + "".join(runs[:6])]:
                model.tokenize(text)
        print(path, flush=True)

threading.stack_size(stack)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
NO_ROOM = """
import resource, sys
from pathlib import Path
from hoshikage._core import Model
from hoshikage.errors import MemoryExhausted

with Model(sys.argv[1], n_gpu_layers=0) as model:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
    try:
        model.tokenize("a" * 400_000)
    except MemoryExhausted as error:
        print(error)
    assert model.tokenize("still here")
"""


def run(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def split_by(pre: str, tiny_model: TinyModel) -> Path:
    return tiny_model("llama", n_layer=1, pre=pre)


def test_long_runs_end_no_process(tiny_model: TinyModel) -> None:
    paths = [split_by(pre, tiny_model) for pre in RECURSIVE]
    assert run(SURVIVES, N, 0, *paths).split() == list(map(str, paths))


def test_splitters_that_are_called_loops_take_no_stack(tiny_model: TinyModel) -> None:
    paths = [split_by(pre, tiny_model) for pre in sorted(LOOPS)]
    assert run(SURVIVES, 5_000, 1 << 20, *paths).split() == list(map(str, paths))


def test_a_run_has_a_longest_where_it_takes_stack(tiny_model: TinyModel) -> None:
    run_of = "x" * (LONGEST_RUN + 1)
    with Model(split_by("llada-moe", tiny_model)) as model:
        with pytest.raises(ParameterError, match="put spaces or line ends"):
            model.tokenize(run_of)
        assert model.tokenize("é" * LONGEST_RUN)  # counted in characters
        assert model.tokenize("word " * (LONGEST_RUN // 4))
    with Model(split_by("qwen2", tiny_model)) as model:
        assert len(model.tokenize(run_of)) == len(run_of)


def test_a_long_run_has_the_tokens_that_it_has_in_pieces(tiny_model: TinyModel) -> None:
    """On whichever stack: the same words."""
    with Model(split_by("llada-moe", tiny_model)) as model:
        short, long = "hell" * (SHORT_RUN // 4), "hell" * (SHORT_RUN // 4 + 1)
        assert model.tokenize(long) == model.tokenize(short) + model.tokenize("hell")


def test_a_stack_that_cannot_be_had_is_an_error(tiny_model: TinyModel) -> None:
    assert "MiB of stack" in run(NO_ROOM, split_by("llada-moe", tiny_model))
