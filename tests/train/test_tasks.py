"""What is trained on: how often which question, and none of the test sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


def test_a_question_is_held_back_in_every_wording() -> None:
    """Read off the texts, not off the keys: a sum the other way round, words to sort in another order, a function
    whose argument is called otherwise, facts as JSON or as a form."""
    rng = Random(6)
    kinds = ("addition", "sort-words", "sort-numbers", "how-many", "python", "json", "form")
    trained = {core(TASKS[kind].draw(rng, "train")) for kind in kinds for _ in range(4000)}
    tested = {core(item) for item in questions(60, kinds)}
    assert len(tested) > 300
    assert not trained & tested


def core(item: Item) -> tuple[str, ...]:
    """What is asked, whatever the words."""
    text = item.turns[-1].text
    if item.task in ("json", "form"):
        sentence = re.search(r"[A-Z][a-z]+ (is|from|works|has|bought) [^.]*\.", text)
        fields = item.expected if item.task == "json" else re.findall(r"(\w+):", item.expected)
        return ("facts", sentence[0] if sentence else "", *sorted(fields))
    if item.task == "python":
        return (item.task, text.partition("def ")[2].partition("(")[0])
    asked = item.answer.rpartition("so ")[2].partition("=")[0] if item.task == "addition" else text.partition(":")[2]
    return (item.task, *sorted(re.findall(r"\w+", asked)))


def questions_of(item: Item) -> list[str]:
    """Those of a conversation one by one."""
    return item.key.split(" & ") if item.task == "conversation" else [item.question]


def test_the_page_says_how_many_questions_are_conversations() -> None:
    weights = {task.name: task.weight for task in (*TASKS.values(), *UNCHECKED)}
    shares: dict[str, int] = {}
    for name, practice in practices():
        practised = weights | practice
        shares[name] = round(100 * practised["conversation"] / sum(practised.values()))
    ours = shares.pop("nano-ar")
    assert shares.pop("nano-ar, the last") == ours
    said = f"{ours} % are conversations, of the others' {min(shares.values())} to {max(shares.values())} %"
    assert said in " ".join(README.read_text(encoding="utf-8").split())


def practices() -> Iterator[tuple[str, Mapping[str, float]]]:
    """Of every schedule of every recipe, under names of their own."""
    for name, recipe in RECIPES.items():
        yield name, recipe.practice
        yield f"{name}, the last", recipe.last.practice


def test_practice_says_how_often_a_question_comes() -> None:
    rng = Random(8)
    drawn = [draw(rng, {"addition": 1e6}).task for _ in range(100)]
    assert drawn == ["addition"] * 100
    names = {task.name for task in (*TASKS.values(), *UNCHECKED)}
    assert all(set(practice) <= names for _, practice in practices())
