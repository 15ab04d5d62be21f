"""What company costs at the desk."""

from __future__ import annotations

from typing import Any

import pytest

from hoshikage._board import Board
from hoshikage.engine.engine import Engine
from hoshikage.settings import Settings
from tests.speaker import Speaker

BAN = -float("inf")


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 8, "algorithm": "entropy"},  # 50 steps
        {"max_tokens": 8, "algorithm": "entropy", "steps": 5000},
        {"max_tokens": 8, "algorithm": "origin", "steps": 5000},
        {"max_tokens": 8, "algorithm": "threshold", "steps": 300, "block_length": 4},
        {"max_tokens": 8, "algorithm": "joint_threshold", "steps": 300},
    ],
    ids=str,
)
def test_steps_that_settle_nothing_wait_for_nobody(options: dict[str, Any]) -> None:
    """Neighbours' passes take their time: an answer takes as many turns beside them as passes when it is alone."""
    wish = {**options, "seed": 1, "logit_bias": dict.fromkeys(Speaker().eog_ids, BAN)}
    alone = Engine(Speaker(salt=4)).generate("abc", **wish)
    assert alone.counts.n_passes <= 8
    engine = Engine(Speaker(salt=4), Settings(n_seq=2))
    desk, n_turns = engine.desk(n_expected=2), 0
    desk.join(engine.answer(0, engine.tokenize("hello there"), {"max_tokens": 400, "quality": "exact"}))
    desk.join(engine.answer(1, engine.tokenize("abc"), wish))
    result = None
    while result is None:
        result = next((item.result for item in desk.step(Board()) if item.answer.index == 1), None)
        n_turns += 1
    assert (result.text, result.counts.n_passes) == (alone.text, alone.counts.n_passes)
    assert n_turns <= alone.counts.n_passes + 5  # a cancel is heard every thousand steps
