"""The questions: right answers pass, wrong ones do not, and the test sets are not trained on."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.tasks import TASKS
from training.corpus import draw


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_pass_and_others_fail(name: str) -> None:
    task, rng = TASKS[name], Random(3)
    items = [task.make(rng) for _ in range(200)]
    assert all(task.passes(item, item.answer) for item in items)
    assert not any(task.passes(item, "") or task.passes(item, "I do not know.") for item in items)
    strangers = [(a, b) for a, b in pairwise(items) if a.expected != b.expected]
    mistaken = sum(task.passes(a, b.answer) for a, b in strangers)
    assert mistaken <= len(strangers) // 10


def test_the_split_keeps_the_test_questions_out_of_training() -> None:
    rng = Random(5)
    trained = {(item.task, item.key) for item in (draw(rng) for _ in range(30_000)) if item.task in TASKS}
    tested = {(item.task, item.key) for item in questions(60)}
    assert len(tested) > 500
    assert not trained & tested


def test_one_question_in_ten_is_held_back() -> None:
    rng = Random(6)
    items = {(item.task, item.key): item for task in TASKS.values() for item in (task.make(rng) for _ in range(300))}
    held_back = sum(item.split == "test" for item in items.values())
    assert 0.07 < held_back / len(items) < 0.13


def test_the_same_seed_gives_the_same_questions() -> None:
    assert questions(5) == questions(5)


def test_a_plain_sum_is_answered_with_its_working() -> None:
    from hoshikage.evaluate.tasks.arithmetic import last_number, work_difference, work_sum

    assert work_sum(12, 35) == "2+5=7, 1+3=4, so 12+35=47."
    assert work_sum(67, 85) == "7+5=12, 6+8+1=15, so 67+85=152."
    assert work_difference(523, 87) == "13-7=6, 12-8-1=3, 5-0-1=4, so 523-87=436."
    for a in range(0, 1000, 37):
        for b in range(0, a + 1, 23):
            assert last_number(work_sum(a, b)) == a + b
            assert last_number(work_difference(a, b)) == a - b
