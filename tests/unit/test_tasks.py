"""The questions: right answers pass, near misses and nonsense do not, and no test set asks the same twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.tasks import TASKS, Item, conversation
from hoshikage.evaluate.tasks.arithmetic import last_number, work_difference, work_sum
from hoshikage.evaluate.tasks.item import ask
from hoshikage.evaluate.tasks.words import ANIMALS, CITIES, COLOURS, FRUITS, JOBS, NAMES, PLACES, THINGS

KINDS = (NAMES, ANIMALS, CITIES, PLACES, FRUITS, THINGS, COLOURS, JOBS)
DEEP = tuple(f"def f(x):\n    return {'-' * n}x" for n in (3000, 8192))
NONSENSE = ("", "I do not know.", "[" * 5000, "9" * 5000, ":" * 5000, *DEEP, "\x00", "{}")


def drawn(name: str, n: int = 200) -> list[Item]:
    rng = Random(3)
    return [TASKS[name].make(rng) for _ in range(n)]


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_pass_and_nonsense_does_not(name: str) -> None:
    for item in drawn(name):
        assert TASKS[name].passes(item, item.answer)
        assert TASKS[name].passes(item, f"{item.answer}\n")
    for item in drawn(name, 10):
        assert not any(TASKS[name].passes(item, text) for text in NONSENSE)


def other_numbers(text: str) -> Iterator[str]:
    """One number more or less than it was, one after the other."""
    for found in re.finditer(r"\d+", text):
        for value in (int(found[0]) + 1, int(found[0]) + 10):
            yield f"{text[: found.start()]}{value}{text[found.end() :]}"


def other_words(item: Item) -> Iterator[str]:
    """Another of its kind for each name, animal, place, ... that was asked for or is there again."""
    text, asked = item.answer, " ".join(turn.text for turn in item.turns)
    for kind in KINDS:
        for found in re.finditer(rf"\b({'|'.join(kind)})(?=s?\b)", text):
            if found[0] not in asked and len(re.findall(rf"\b{found[0]}\b", text)) == 1:
                continue  # of a friend met once, anything may be told
            other = kind[(kind.index(found[0]) + 7) % len(kind)]
            yield f"{text[: found.start()]}{other}{text[found.end() :]}"


@pytest.mark.parametrize("name", ["counting", "json", "form", "fix-line", "python"])
def test_no_number_of_an_answer_may_be_another(name: str) -> None:
    misses = [(item, wrong) for item in drawn(name) for wrong in other_numbers(item.answer)]
    assert len(misses) > 20
    assert not [wrong for item, wrong in misses if TASKS[name].passes(item, wrong)]


@pytest.mark.parametrize("name", ["story", "json", "form", "recall", "persona"])
def test_no_word_of_an_answer_may_be_another(name: str) -> None:
    misses = [(item, wrong) for item in drawn(name) for wrong in other_words(item)]
    assert len(misses) > 100
    assert not [wrong for item, wrong in misses if TASKS[name].passes(item, wrong)]


@pytest.mark.parametrize(
    "name", ["addition", "subtraction", "letters", "how-many", "units", "bases", "sort-numbers", "counting"]
)
def test_the_last_number_of_an_answer_is_its_result(name: str) -> None:
    for item in drawn(name):
        *_, found = re.finditer(r"[0-9a-f]*\d[0-9a-f]*|\b[a-f]+\b" if name == "bases" else r"\d+", item.answer)
        before, behind = item.answer[: found.start()], item.answer[found.end() :]
        for wrong in (f"-{found[0]}", f"1{found[0]}", f"{found[0]}0"):
            if wrong not in ("-0", "00"):  # of a result of nothing
                assert not TASKS[name].passes(item, f"{before} {wrong}{behind}"), wrong


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("story", "Sara was a wolf in the forest. Sara was a wolf in the forest. Sara was a wolf in the forest."),
        ("python", "def {name}({x}, y):\n    return {body}"),
    ],
)
def test_what_only_looks_like_an_answer(name: str, lines: str) -> None:
    for item in drawn(name, 50):
        found = re.match(r"def (\w+)\((.*)\):\n    return (.*)", item.answer)
        text = lines.format(name=found[1], x=found[2], body=found[3]) if found else lines
        assert not TASKS[name].passes(item, text)


TABLE = "- animal color fruit\n- fox red apple\n- owl blue fig\nWhat color is the fox?"
PYTHON = "def add(x, y):\n    return x + y"
JUDGED: dict[str, tuple[Item, tuple[str, ...], tuple[str, ...]]] = {
    "a sum": (
        ask("addition", "12+35", "What is 12+35?", "2+5=7, 1+3=4, so 12+35=47.", 47),
        ("47", "12+35=47", "It is 47.", "Mia has 46 apples and buys 1, so 47."),
        ("It is not 47.", "It isn't 47.", "It is 46 or 47.", "\u221247", "4,7", "47.5", "0,47"),
    ),
    "a difference": (
        ask("subtraction", "1234-0", "What is 1234-0?", "so 1234-0=1234.", 1234),
        ("1,234", "1234."),
        ("12,34", "1,23,4", "It can't be 1234."),
    ),
    "letters": (
        ask("letters", "fox", "How many letters are in 'fox'?", "1 f, 2 o, 3 x. 3 letters.", 3),
        ("3", "3 letters", "1 f, 2 o, 3 x: 3", "It has 3 letters.", "1 f, 2 o, 3 x, so 3 letters."),
        ("1 f, 2 o, 3 x", "1 f, 2 o, 3", "1 f\n2 o\n3 x", "1 f, 2 o, 3 x. 2 letters.", "It has never 3 letters."),
    ),
    "how many": (
        ask("how-many", "fox cat dog", "Count the animals: fox, cat, dog.", "1 fox, 2 cat, 3 dog. 3 animals.", 3),
        ("3", "1 fox, 2 cat, 3 dog. 3"),
        ("1 fox, 2 cat, 3 dog", "1 fox, 2 cat, 3 dog.", "There aren’t 3 animals."),
    ),
    "a day": (
        ask("calendar", "Monday 2", "Which day is 2 days after Monday?", "1 Tuesday, 2 Wednesday. ...", "Wednesday"),
        ("Wednesday", "It is Wednesday.", "2 days after Monday is Wednesday.", "In 2 days: Wednesday."),
        ("1 Tuesday, 2 Wednesday", "1. Tuesday 2. Wednesday.", "It is not Wednesday.", "It is Tuesday or Wednesday."),
    ),
    "centimetres": (
        ask("units", "5 m cm", "How many cm are 5 m?", "1 m is 100 cm, so 5 m are 500 cm.", "500 cm"),
        ("500 cm", "500cm.", "5 m are 500 cm."),
        (
            "5,00 cm",
            "5,0,0 cm",
            "500,0 cm",
            "5 m are 500 cm or 600.",
            "500 cm, 600",
            "500 cm2",
            "500",
            "It isn't 500 cm.",
        ),
    ),
    "metres": (
        ask("units", "1234 km m", "What is 1234 km in m?", "so 1234 km are 1234000 m.", "1234000 m"),
        ("1,234,000 m", "1234000 m"),
        ("1,234,00 m", "1234,000 m", "1.234.000 m"),
    ),
    "decimal": (
        ask("bases", "1010", "Write binary 1010 in decimal.", "1, 2, 5, 10: 10", "10"),
        ("10", "10.", "1, 2, 5, 10: 10", "It is 10."),
        ("0x10", "0b10", "1, 2, 5, 10", "10.5", "10,5", "It is not 10.", "It is 8 or 10."),
    ),
    "binary": (
        ask("bases", "1f", "Write hex 1f in binary.", "1 is 0001, f is 1111: 00011111", "00011111"),
        ("0b00011111", "00011111"),
        ("0x00011111", "0b0b00011111", "1 is 0001, f is 1111"),
    ),
    "hex": (
        ask("bases", "1f", "Write binary 0001 1111 in hex.", "0001 is 1, 1111 is f: 1f", "1f"),
        ("0x1f", "1F", "0X1F."),
        ("0b1f", "-1f", "0001 is 1, 1111 is f", "never 1f"),
    ),
    "backwards": (
        ask("reverse", "cat", "Reverse 'cat'.", "'tac'", "tac"),
        ("tac", "tac.", '"tac"', "It is 'tac'.", "'cat' backwards is 'tac'.", "It is tac", "Backwards: tac"),
        ("'ca' 'tac'", "ätac", "12tac34", "ca tac", "It is not 'tac'.", "not tac", "It is not: tac", "'tac' is 'cat'"),
    ),
    "a word that denies": (
        ask("reverse", "ton", "Reverse 'ton'.", "'not'", "not"),
        ("'not'", "not", "'ton' backwards is 'not'.", "It is not"),
        ("It isn't 'not'.", "It is 'not' or 'on'."),
    ),
    "sorted numbers": (
        ask("sort-numbers", "4, 3, 5", "Sort these numbers: 4, 3, 5.", "Tens: 0 4. Sorted: 3, 4, 5.", ["3", "4", "5"]),
        ("3, 4, 5", "3 4 5", "Sorted: 3, 4, 5.", "3\n4\n5\n", "3,4,5"),
        ("3.4.5", "3, 猫 4, 5 です", "3, 4, 5 です", "3, 4", "3, 4, 5, 6", "34, 5", "It is not this: 3, 4, 5"),
    ),
    "sorted words": (
        ask("sort-words", "cat ant", "Sort alphabetically: cat, ant.", "Sorted: ant, cat.", ["ant", "cat"]),
        ("ant, cat", "Sorted: ant, cat."),
        ("ant.cat", "ant, 7, cat", "ant, cat か"),
    ),
    "a name": (
        ask("recall", "", "What is my name?", "Your name is Mia.", "Mia"),
        ("Mia", "You are Mia!"),
        ("Your name isn't Mia.", "I cannot be Mia.", "You are never Mia.", "Mia or Bob", "It's mia and tom"),
    ),
    "a city": (
        ask("recall", "", "Where do I live?", "You live in Oslo.", "Oslo"),
        ("You live in Oslo.", "In Oslo"),
        ("I don't think you live in Oslo.", "I don’t think you live in Oslo.", "Oslo, Rome"),
    ),
    "fruits": (
        ask("recall", "", "What do I like to eat?", "You like to eat kiwis.", "kiwi"),
        ("You like to eat kiwis.", "Kiwis."),
        ("You like to eat apple and pear and kiwis.", "You like to eat apples.", "kiwis and foxes"),
    ),
    "a table": (
        ask("table", "", TABLE, "- fox red apple\nThe fox is red.", ("red", {"owl", "blue", "apple", "fig"})),
        ("The fox is red.", "- fox red apple\nThe fox is red.", "red", "Red!"),
        ("The fox is not red.", "The fox is red or blue!", "The fox is red and pink.", "The foxes, apples: red", "fox"),
    ),
    "a function": (
        ask("python", "def add(x, y):", "Complete the function:\ndef add(x, y):", PYTHON, PYTHON),
        (PYTHON, "def add(a, b):\n  return (b + a)"),
        (
            f"@print\n{PYTHON}",
            "def add(*rest, x, y):\n    return x + y",
            "def add(x, y, *rest):\n    return x + y",
            "def add(x, y, **rest):\n    return x + y",
            "def add(x, y, *, z):\n    return x + y",
            "def add(x, /, y):\n    return x + y",
            "def add(x, y=1/0):\n    return x + y",
        ),
    ),
}


@pytest.mark.parametrize("name", JUDGED)
def test_a_reply_is_judged_by_what_it_says(name: str) -> None:
    """All of it: what is denied, left open or not yet concluded is no answer, nor is a value among others."""
    item, right, wrong = JUDGED[name]
    passes = TASKS[item.task].passes
    assert [reply for reply in right if not passes(item, reply)] == []
    assert [reply for reply in wrong if passes(item, reply)] == []


@pytest.mark.parametrize(
    ("name", "conclusion"),
    [
        ("letters", ". "),
        ("how-many", ". "),
        ("calendar", ". "),
        ("bases", ": "),
        ("sort-words", " Sorted"),
        ("table", "\n"),
    ],
)
def test_an_answer_that_is_cut_off_before_its_conclusion_is_none(name: str, conclusion: str) -> None:
    for item in drawn(name, 400):
        working = item.answer[: item.answer.rindex(conclusion)]
        assert not any(TASKS[name].passes(item, text) for text in (working, f"{working}."))


@pytest.mark.parametrize(
    ("name", "reply"), [("json", "```json\n{answer}\n```"), ("bases", "{answer}."), ("recall", "{answer}!")]
)
def test_a_right_answer_in_other_words(name: str, reply: str) -> None:
    assert all(TASKS[name].passes(item, reply.format(answer=item.answer)) for item in drawn(name))


def test_a_number_is_read_as_people_write_it() -> None:
    assert last_number("The sum is 1,234.") == last_number("so 617+617=1234.") == 1234
    assert last_number("about 1.372") is None


def test_a_plain_sum_is_answered_with_its_working() -> None:
    assert work_sum(12, 35) == "2+5=7, 1+3=4, so 12+35=47."
    assert work_sum(67, 85) == "7+5=12, 6+8+1=15, so 67+85=152."
    assert work_difference(523, 87) == "13-7=6, 12-8-1=3, 5-0-1=4, so 523-87=436."


@given(st.integers(0, 999), st.integers(0, 999))
def test_every_working_ends_with_its_result(a: int, b: int) -> None:
    a, b = max(a, b), min(a, b)
    assert last_number(work_sum(a, b)) == a + b
    assert last_number(work_difference(a, b)) == a - b


def test_one_question_in_ten_is_held_back() -> None:
    rng = Random(6)
    items = {item.question: item for task in TASKS.values() for item in (task.make(rng) for _ in range(300))}
    held_back = sum(item.split == "test" for item in items.values())
    assert 0.07 < held_back / len(items) < 0.13


def test_no_question_comes_twice_and_none_depends_on_the_others() -> None:
    items = questions(60)
    assert len({item.turns for item in items}) == len(items) > 1200
    assert all(item.split == "test" for item in items)
    assert questions(60) == items
    assert questions(5, ["json", "table"]) == [item for item in questions(5) if item.task in ("json", "table")]
    assert 50 < len(questions(1000, ["calendar"])) < 100, "there are no more"


def test_a_question_comes_in_other_words_only_when_there_are_no_more() -> None:
    items = questions(1000, ["calendar"])
    n = len({item.question for item in items})
    assert 20 < n < len(items) / 1.5
    assert len({item.question for item in items[:n]}) == n


def test_a_conversation_is_of_the_split_of_its_last_question() -> None:
    rng = Random(4)
    items = [TASKS["conversation"].draw(rng, "test") for _ in range(200)]
    assert all(item.expected.split == "test" for item in items)
    assert "small-talk" not in {item.expected.task for item in items}, "of which training has every question"
    assert any("small-talk/" in item.key for item in items), "it may stand before"
    assert {len([turn for turn in item.turns if turn.role == "user"]) for item in items} >= {1, 2, 3, 4}
    assert 0.3 < sum(item.turns[0].role == "system" for item in items) / len(items) < 0.7
    assert all(turn.role != "system" for item in items for turn in item.turns[1:])
    assert len({conversation.system_turn(rng).text for _ in range(500)}) > 200
