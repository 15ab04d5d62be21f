"""The same questions as they are met in a chat: below a system turn that is about nothing, behind other questions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .item import Item, Task, Turn

_WHO = ("assistant", "AI assistant", "chatbot", "language model", "helper", "AI", "tutor", "expert")
_HOW = ("helpful", "friendly", "honest", "kind", "polite", "smart", "careful", "useful", "concise")
_WISHES = (
    "Be brief.", "Answer the question.", "Answer as well as you can.", "Answer in a few words.", "Be polite.",
    "Think before you answer.", "Follow the instructions.", "Use plain words.", "Reply in the user's language.",
    "Do not make things up.", "Answer the user's questions.", "Keep your answers short.", "Be accurate.",
)  # fmt: skip


def system_turn(rng: Random) -> Turn:
    """What clients send without being asked."""
    how = rng.sample(_HOW, rng.choice((0, 1, 1, 2)))
    who = " ".join(filter(None, (" and ".join(how), rng.choice(_WHO))))
    article = "an" if who[0] in "aeiouAEIOU" else "a"
    sentences = [f"You are {article} {who}."] if rng.random() < 0.8 else []
    wishes = rng.sample(_WISHES, rng.choice((0, 0, 1, 2)) if sentences else rng.choice((1, 2)))
    return Turn("system", " ".join((*sentences, *wishes)))


def conversation_of(tasks: Sequence[Task], untested: Sequence[Task], name: str, weight: float) -> Task:
    """A task that asks what these ask. It belongs to the split of its last question, and so do all before it; no test
    set asks the untested last, of which training has every question."""
    anything = (*tasks, *untested)
    by_name = {task.name: task for task in anything}
    weights = [task.weight for task in anything]
    trained_whole = {task.name for task in untested}

    def make(rng: Random) -> Item:
        asked = rng.choices(anything, weights)[0].make(rng)
        n_before = rng.choice((0, 1, 1, 2, 2, 3))
        before = [rng.choices(anything, weights)[0].draw(rng, asked.split) for _ in range(n_before)]
        turns = [turn for item in before for turn in (*item.turns, Turn("assistant", item.answer))]
        if not before or rng.random() < 0.4:
            turns.insert(0, system_turn(rng))
        key = " & ".join(item.question for item in (*before, asked))
        return Item(name, key, (*turns, *asked.turns), asked.answer, asked, decides=asked.question)

    def passes(item: Item, reply: str) -> bool:
        asked: Item = item.expected
        return by_name[asked.task].passes(asked, reply)

    def tests(item: Item) -> bool:
        asked: Item = item.expected
        return asked.task not in trained_whole

    return Task(name, make, passes, weight, tests)
