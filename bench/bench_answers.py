"""How much sooner has a person the right answer than with llama.cpp's own program?

    pytest bench/bench_answers.py -s                        57 questions, some 9 minutes
    BENCH_QUESTIONS=12 pytest bench/bench_answers.py -s     twelve of each kind, 228: some 20

nano-llada on questions of one turn, a canvas of 256. llama-diffusion-cli is tried in several settings with a question
of each kind; the four that had the most right get another one of each, the two best of them all others, and it is
compared in the better of these. That ours has no fewer right is tested as far as so few questions tell: where fewer
are, the 95 % interval of the difference, question by question, has to reach 0. Tokens are counted to the end of the
answer, seconds until it is there, loading left out. Every question is asked in all ways before the next one.

Without a temperature the program does not take the likeliest token, it draws from what top-k and top-p leave as the
model has it. So a low temperature and the likeliest token alone are tried as well.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import Any

import pytest

import hoshikage
from bench.peers import diffusion_answer, in_blocks
from bench.results import record
from hoshikage import nano
from hoshikage._context import usable_cores
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.score import Score
from hoshikage.evaluate.subject import ModelFile, Reply, messages_of
from hoshikage.evaluate.tasks import TASKS, Item

MODEL, CANVAS = "nano-llada", 256
WHOLE = ("--diffusion-eps", "0.001", "--diffusion-algorithm", "4")
SURER = ("--temp", "0.2")
# By confidence, by margin, by entropy; its two other algorithms settle at random.
SETTINGS: dict[str, tuple[int, tuple[str, ...]]] = {
    "confidence, blocks of 32": (CANVAS, in_blocks(32)),
    "confidence, blocks of 32, temperature 0.2": (CANVAS, (*in_blocks(32), *SURER)),
    "confidence, blocks of 32, temperature 0.2, half the steps": (CANVAS // 2, (*in_blocks(32), *SURER)),
    "confidence, blocks of 32, no temperature or top-k": (CANVAS, (*in_blocks(32), "--temp", "0", "--top-k", "0")),
    "margin, blocks of 32, temperature 0.2": (CANVAS, (*in_blocks(32, 2), *SURER)),
    "entropy, blocks of 32, temperature 0.2": (CANVAS, (*in_blocks(32, 1), *SURER)),
    "the likeliest token from left to right, blocks of 32": (CANVAS, (*in_blocks(32), "--top-k", "1")),
    "confidence, whole canvas": (CANVAS, WHOLE),
    "confidence, whole canvas, temperature 0.2": (CANVAS, (*WHOLE, *SURER)),
}
N_LEFT = (4, 2)  # of its settings, after a round and after two
MAX_TOKENS = CANVAS - 64  # the longest of these prompts leave room for it
LONG_ANSWERS, LONG, LONGER = ("story", "calendar"), 60, 100  # tokens: what nano-llada has learnt to write, and more
COMMAND = "pytest bench/bench_answers.py -s"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    with hoshikage.load(MODEL) as engine:
        warm_up = ModelFile(engine, MODEL, {"quality": "balanced", "max_tokens": MAX_TOKENS})
        warm_up.answer(single_turns()[0])
        yield engine


def single_turns() -> list[Item]:
    """The program knows one turn."""
    drawn = questions(int(os.environ.get("BENCH_QUESTIONS", "3")))
    return [item for item in drawn if [turn.role for turn in item.turns] == ["user"]]


def rounds_of(items: Sequence[Item]) -> list[list[Item]]:
    """The first question of each kind, the second of each, and all others."""
    seen: Counter[str] = Counter()
    rounds: list[list[Item]] = [[] for _ in range(len(N_LEFT) + 1)]
    for item in items:
        rounds[min(seen[item.task], len(N_LEFT))].append(item)
        seen[item.task] += 1
    return rounds


def reply_of_cli(engine: Any, item: Item, setting: str) -> Reply:
    n_steps, schedule = SETTINGS[setting]
    prompt = item.turns[0].text
    text, seconds = diffusion_answer(nano.resolve(MODEL), CANVAS, n_steps, usable_cores(), *schedule, prompt=prompt)
    n_tokens = len(engine.tokenize(text)) + 1  # with the end of text, as ours
    return Reply(TASKS[item.task].passes(item, text), text, n_tokens, seconds)


def ask_all(engine: Any, items: Sequence[Item], replies: dict[str, list[Reply]]) -> None:
    """Every question in all ways, ours and those of its settings that are there."""
    ours = ModelFile(engine, "balanced", {"quality": "balanced", "max_tokens": MAX_TOKENS})
    for item in items:
        for way, given in replies.items():
            given.append(ours.answer(item) if way == "balanced" else reply_of_cli(engine, item, way))


def best_first(replies: dict[str, list[Reply]]) -> list[str]:
    """The program's settings: who has more right, and of those the faster, first."""
    scores = {way: Score.of(given) for way, given in replies.items() if way != "balanced"}
    return sorted(scores, key=lambda way: (-scores[way].right, -(scores[way].tokens_per_second or 0.0)))


def show(replies: dict[str, list[Reply]]) -> None:
    for way, score in ((way, Score.of(given)) for way, given in replies.items()):
        print(f"{way}: {score.right} of {score.n} right, {score.tokens_per_second or 0.0:.1f} tokens/s")


def test_answers_against_the_example(engine: Any) -> None:
    replies: dict[str, list[Reply]] = {way: [] for way in ("balanced", *SETTINGS)}
    for items, n_left in zip(rounds_of(single_turns()), (*N_LEFT, 1), strict=True):
        ask_all(engine, items, replies)
        show(replies)
        replies = {way: replies[way] for way in ("balanced", *best_first(replies)[:n_left])}
    (best,) = best_first(replies)
    ours, theirs = Score.of(replies["balanced"]), Score.of(replies[best])
    more, spread = difference(replies["balanced"], replies[best])
    speed, their_speed = ours.tokens_per_second or 0.0, theirs.tokens_per_second or 0.0
    record(
        "balanced against llama-diffusion-cli at its best", speed / their_speed, "times the tokens/s",
        asked="30, no fewer right",
        detail=f"{MODEL}, canvas {CANVAS}, {ours.right} and {theirs.right} of {ours.n} right "
        f"({100 * more:+.1f} +- {100 * spread:.1f} points), "
        f"{speed:.0f} and {their_speed:.1f} tokens/s, its setting: {best}",
        command=COMMAND,
    )  # fmt: skip
    assert speed / their_speed >= 30
    assert more + spread >= 0


def difference(ours: Sequence[Reply], theirs: Sequence[Reply]) -> tuple[float, float]:
    """How many more of ours are right, as a share of them, and half the 95 % interval of that."""
    more = [int(a.right) - int(b.right) for a, b in zip(ours, theirs, strict=True)]
    return mean(more), 1.96 * stdev(more) / math.sqrt(len(more))


def of_about(engine: Any, item: Item, n_tokens: int) -> Reply:
    """An answer that is kept from ending and is cancelled when it has so many tokens."""
    board = hoshikage.Board()
    never_ends = dict.fromkeys(engine.model.eog_ids, -100.0)
    options = {"quality": "balanced", "temperature": 0.0, "max_tokens": 256, "logit_bias": never_ends}
    for snapshot in engine.chat(messages_of(item), stream=True, board=board, **options):
        if sum(token is not None for token in snapshot.tokens) >= n_tokens:
            board.cancel()
        result = snapshot.result
    counts = result.counts
    return Reply(False, result.text, counts.n_tokens, counts.seconds, counts.n_passes, counts.n_rows)


@pytest.mark.parametrize("kind", ["its longest answers", f"kept from ending before {LONGER} tokens"])
def test_rows_of_long_answers(engine: Any, kind: str) -> None:
    """Room for 256 tokens costs nothing that is not used."""
    items = [item for item in questions(50, LONG_ANSWERS) if len(engine.tokenize(item.answer)) >= LONG][:30]
    if kind == "its longest answers":
        longest = ModelFile(engine, "balanced", {"quality": "balanced", "max_tokens": 256})
        score = Score.of([longest.answer(item) for item in items])
    else:
        score = Score.of([of_about(engine, item, LONGER) for item in items])
    rows = score.rows_per_token or 0.0
    record(
        f"rows computed for a token, balanced, max_tokens 256, {kind}", rows, "rows", asked="at most 16",
        detail=f"{MODEL}, {score.n} answers of {score.n_tokens / score.n:.0f} tokens in the mean, "
        f"{score.tokens_per_pass:.1f} tokens a pass", command=COMMAND,
    )  # fmt: skip
    assert rows <= 16
