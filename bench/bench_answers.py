"""How much sooner has a person the right answer than with llama.cpp's own program?

    pytest bench/bench_answers.py -s                       19 questions
    BENCH_QUESTIONS=5 pytest bench/bench_answers.py -s     five of each kind

nano-llada on questions of one turn, a canvas of 256. llama-diffusion-cli is tried in several settings and compared
where it has the most right; tokens are counted to the end of the answer, seconds until it is there, loading left out.
Every question is asked in all ways before the next one.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hoshikage
from bench.peers import diffusion_command, in_blocks
from bench.results import record
from hoshikage import nano
from hoshikage._context import usable_cores
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.score import Score
from hoshikage.evaluate.subject import ModelFile, Reply
from hoshikage.evaluate.tasks import TASKS, Item

MODEL, CANVAS = "nano-llada", 256
# By confidence, by margin, by entropy; its two other algorithms settle at random.
SETTINGS: dict[str, tuple[int, tuple[str, ...]]] = {
    "confidence, blocks of 32": (CANVAS, in_blocks(32)),
    "confidence, blocks of 32, half the steps": (CANVAS // 2, in_blocks(32)),
    "margin, blocks of 32": (CANVAS, in_blocks(32, 2)),
    "entropy, blocks of 32": (CANVAS, in_blocks(32, 1)),
    "confidence, whole canvas": (CANVAS, ("--diffusion-eps", "0.001", "--diffusion-algorithm", "4")),
}
MAX_TOKENS = CANVAS - 64  # the longest of these prompts leave room for it
LONG_ANSWERS = ("story", "sort-numbers", "calendar")
COMMAND = "pytest bench/bench_answers.py -s"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    with hoshikage.load(MODEL) as engine:
        warm_up = ModelFile(engine, MODEL, {"quality": "balanced", "max_tokens": MAX_TOKENS})
        warm_up.answer(single_turns()[0])
        yield engine


def single_turns() -> list[Item]:
    """The program knows one turn."""
    drawn = questions(int(os.environ.get("BENCH_QUESTIONS", "1")))
    return [item for item in drawn if [turn.role for turn in item.turns] == ["user"]]


def answer_of_cli(path: Path, item: Item, n_steps: int, schedule: tuple[str, ...]) -> tuple[str, float]:
    """Its text, which is the canvas behind the prompt without special tokens, and the seconds it took."""
    done = subprocess.run(
        diffusion_command(path, CANVAS, n_steps, usable_cores(), *schedule, prompt=item.turns[0].text),
        check=True, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    told = re.search(r"total time: ([\d.]+)ms.*?\n(.*)\Z", done.stderr, re.DOTALL)
    if told is None:
        raise RuntimeError(f"llama-diffusion-cli said no time: {done.stderr[-500:]}")
    return told[2].strip(), float(told[1]) / 1000


def test_answers_against_the_example(engine: Any) -> None:
    ours, items = ModelFile(engine, "balanced", {"quality": "balanced", "max_tokens": MAX_TOKENS}), single_turns()
    replies: dict[str, list[Reply]] = {way: [] for way in ("balanced", *SETTINGS)}
    for item in items:
        replies["balanced"].append(ours.answer(item))
        for way, setting in SETTINGS.items():
            text, seconds = answer_of_cli(nano.resolve(MODEL), item, *setting)
            n_tokens = len(engine.tokenize(text)) + 1  # with the end of text, as ours
            replies[way].append(Reply(TASKS[item.task].passes(item, text), text, n_tokens, seconds))
    scores = {way: Score.of(given) for way, given in replies.items()}
    speeds = {way: score.tokens_per_second or 0.0 for way, score in scores.items()}
    for way, score in scores.items():
        print(f"{way}: {score.right} of {score.n} right, {speeds[way]:.1f} tokens/s")
    best = max(SETTINGS, key=lambda way: (scores[way].right, speeds[way]))
    times, right = speeds["balanced"] / speeds[best], scores["balanced"].right
    record(
        "balanced against llama-diffusion-cli at its best", times, "times the tokens/s", asked="30, no fewer right",
        detail=f"{MODEL}, canvas {CANVAS}, {right} and {scores[best].right} of {len(items)} right, "
        f"{speeds['balanced']:.0f} and {speeds[best]:.1f} tokens/s, its setting: {best}",
        command=COMMAND,
    )  # fmt: skip
    assert times >= 30
    assert right >= scores[best].right


def test_rows_of_long_answers(engine: Any) -> None:
    """Room for 256 tokens costs nothing that is not used."""
    longest = ModelFile(engine, "balanced", {"quality": "balanced", "max_tokens": 256})
    score = Score.of([longest.answer(item) for item in questions(10, LONG_ANSWERS)])
    rows = score.rows_per_token or 0.0
    record(
        "rows computed for a token, balanced, max_tokens 256", rows, "rows", asked="at most 16",
        detail=f"{MODEL}, {score.n} answers of {score.n_tokens / score.n:.0f} tokens in the mean, "
        f"{score.tokens_per_pass:.1f} tokens a pass", command=COMMAND,
    )  # fmt: skip
    assert rows <= 16
