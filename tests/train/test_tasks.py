"""What is trained on: how often which question, and none of the test sets."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.tasks import TASKS, UNCHECKED, Item
from training.corpus import draw
from training.recipe import RECIPES

README = Path(__file__).parents[2] / "training" / "README.md"


def test_the_split_keeps_the_test_questions_out_of_training() -> None:
    rng = Random(5)
    drawn = [draw(rng) for _ in range(30_000)]
    assert {item.task for item in drawn} == {task.name for task in (*TASKS.values(), *UNCHECKED)}
    trained = {question for item in drawn for question in questions_of(item)}
    tested = {item.question for item in questions(60)}
    assert len(tested) > 500
    assert not trained & tested


def questions_of(item: Item) -> list[str]:
    """Those of a conversation one by one."""
    return item.key.split(" & ") if item.task == "conversation" else [item.question]


def test_the_page_says_how_many_questions_are_conversations() -> None:
    weights = {task.name: task.weight for task in (*TASKS.values(), *UNCHECKED)}
    shares: dict[str, int] = {}
    for name, recipe in RECIPES.items():
        practised = weights | recipe.practice
        shares[name] = round(100 * practised["conversation"] / sum(practised.values()))
    ours, dreamon, others = shares.pop("nano-ar"), shares.pop("nano-dreamon"), {*shares.values()}
    said = f"{ours} % are conversations, of nano-dreamon's {dreamon} % and of the others' {others.pop()} %"
    assert not others
    assert said in " ".join(README.read_text(encoding="utf-8").split())


def test_practice_says_how_often_a_question_comes() -> None:
    rng = Random(8)
    drawn = [draw(rng, {"addition": 1e6}).task for _ in range(100)]
    assert drawn == ["addition"] * 100
    names = {task.name for task in (*TASKS.values(), *UNCHECKED)}
    assert all(set(recipe.practice) <= names for recipe in RECIPES.values())
