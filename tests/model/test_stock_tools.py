"""The embedded models in llama.cpp's own programs, which take minutes to build: `make test-long`."""

from __future__ import annotations

import re
import subprocess

import pytest

import hoshikage
from bench.peers import diffusion_answer, in_blocks, program
from hoshikage import nano
from tests.long import LONG

pytestmark = pytest.mark.skipif(not LONG, reason="builds llama.cpp's programs: make test-long")

CANVAS = 64
QUESTION = "What is 12+35?"
BY_CONFIDENCE = {"nano-dream": ("--diffusion-eps", "0.001", "--diffusion-algorithm", "4")}
DIFFUSION = [name for name in nano.names() if name not in ("nano-ar", "nano-block")]


@pytest.mark.parametrize("name", DIFFUSION)
def test_the_diffusion_example_decodes_it(name: str) -> None:
    schedule = BY_CONFIDENCE.get(name, in_blocks(16))
    text, _ = diffusion_answer(
        nano.resolve(name), CANVAS, CANVAS, 1, *schedule, "--temp", "0", "--top-k", "1", prompt=QUESTION
    )
    assert text
    if name != "nano-dreamon":  # it fills gaps
        assert re.findall(r"\d+", text)[-1] == "47"


@pytest.mark.parametrize("name", ["nano-ar", "nano-block"])
def test_the_simple_example_continues_it(name: str) -> None:
    """Token by token, as its author would read it: with what its own template makes of a question."""
    prompt = f"<|user|>{QUESTION}<|eot|><|assistant|>"
    command = [program("llama-simple"), "-m", nano.resolve(name), "-n", "32", prompt]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer = said.rpartition("<|assistant|>")[2]
    assert answer.strip()
    if name == "nano-ar":  # the other one sees blocks
        with hoshikage.load(name, n_threads=1) as engine:
            ours = engine.chat([{"role": "user", "content": QUESTION}], max_tokens=32, temperature=0.0).text
        assert answer.splitlines()[0] == ours
