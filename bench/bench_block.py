"""What is a block model worth beside a masked and a causal one of its size?

    pytest bench/bench_block.py -s                          252 questions
    BENCH_QUESTIONS=48 pytest bench/bench_block.py -s       1,008

nano-block by its own rule and at one token a pass, nano-ar, and nano-llada one token a pass: every question is asked in
all ways before the next one. Tokens are counted to the end of the answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import hoshikage
from bench.results import record
from hoshikage import nano
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.score import Score
from hoshikage.evaluate.subject import ModelFile, Reply

COMMAND = "pytest bench/bench_block.py -s"
OWN, ONE, CAUSAL, MASKED = "nano-block by its own rule", "nano-block, one a pass", "nano-ar", "nano-llada, one a pass"
WAYS = {
    OWN: ("nano-block", {}),
    ONE: ("nano-block", {"algorithm": "sequential"}),
    CAUSAL: ("nano-ar", {}),
    MASKED: ("nano-llada", {"quality": "exact"}),
}


@pytest.fixture(scope="module")
def scores() -> Iterator[dict[str, Score]]:
    """What each way got of the same questions."""
    items = questions(int(os.environ.get("BENCH_QUESTIONS", "12")))
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(hoshikage.load(name, **nano.settings_of(name)))
            for name in dict.fromkeys(name for name, _ in WAYS.values())
        }
        subjects = {way: ModelFile(engines[name], way, options) for way, (name, options) in WAYS.items()}
        for subject in subjects.values():
            subject.answer(items[0])
        replies: dict[str, list[Reply]] = {way: [] for way in WAYS}
        for item in items:
            for way, subject in subjects.items():
                replies[way].append(subject.answer(item))
    found = {way: Score.of(given) for way, given in replies.items()}
    for way, score in found.items():
        print(f"\n{way}: {score.right} of {score.n} right, {score.tokens_per_second:.0f} tokens/s, "
              f"{score.tokens_per_pass:.2f} tokens a pass", end="")  # fmt: skip
    yield found


def points(scores: dict[str, Score], better: str, worse: str) -> float:
    """Points of accuracy that one way has before the other."""
    return 100 * (scores[better].right - scores[worse].right) / scores[better].n


def test_it_knows_what_a_masked_model_knows(scores: dict[str, Score]) -> None:
    behind = points(scores, MASKED, ONE)
    record(
        "nano-block behind nano-llada, both at one token a pass", behind, "points", asked="at most 2",
        detail=f"{scores[ONE].right} and {scores[MASKED].right} of {scores[ONE].n} right", command=COMMAND,
    )  # fmt: skip
    assert behind <= 2


def test_its_own_rule(scores: dict[str, Score]) -> None:
    lost, rate = points(scores, ONE, OWN), scores[OWN].tokens_per_pass or 0.0
    record(
        "nano-block by its own rule", rate, "tokens a pass", asked="at least 3 at no more than 1 point lost",
        detail=f"{lost:.1f} points lost of {scores[OWN].n} questions", command=COMMAND,
    )  # fmt: skip
    assert rate >= 3
    assert lost <= 1


def test_beside_a_causal_model(scores: dict[str, Score]) -> None:
    ours, theirs = (scores[way].tokens_per_second or 0.0 for way in (OWN, CAUSAL))
    record(
        "nano-block's tokens/s against nano-ar's", ours / theirs, "times", asked="at least 0.5",
        detail=f"{ours:.0f} and {theirs:.0f} tokens/s", command=COMMAND,
    )  # fmt: skip
    assert ours / theirs >= 0.5
