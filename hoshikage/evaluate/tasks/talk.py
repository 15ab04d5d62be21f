"""Conversation: small talk, a name given by the system turn, something said earlier and asked for later."""

from __future__ import annotations

from random import Random

from .item import Item, Task, Turn, check_same, commits
from .words import ANIMALS, CITIES, COLOURS, FRUITS, NAMES, articled, mentioned

_SMALL = (
    (("Hello!", "Hello", "Hi!", "Hi there!"), "Hello! How can I help you?"),
    (("Good morning!", "Good morning."), "Good morning! How can I help you?"),
    (("How are you?", "How are you today?"), "I am fine, thank you. How are you?"),
    (("Who are you?", "What are you?"), "I am a very small language model."),
    (("What can you do?", "Help"), "I can add, sort, count, reverse words, read tables and tell stories."),
    (("Thank you!", "Thanks!", "Thank you very much."), "You are welcome!"),
    (("Goodbye!", "Bye!", "See you."), "Goodbye! See you soon."),
    (("こんにちは", "こんにちは。"), "こんにちは。お元気ですか。"),
    (("おはよう", "おはようございます。"), "おはようございます。"),
    (("ありがとう", "ありがとうございます。"), "どういたしまして。"),
    (("さようなら", "さようなら。"), "さようなら。またね。"),
    (("あなたは誰ですか。", "あなたは誰？"), "私はとても小さい言語モデルです。"),
)
_SAID = (
    ("My name is {v}.", "Nice to meet you, {v}.", "What is my name?", "Your name is {v}.", NAMES),
    ("I live in {v}.", "{v} is a nice city.", "Where do I live?", "You live in {v}.", CITIES),
    ("I have a {v}.", "A {v}! How nice.", "What animal do I have?", "You have a {v}.", ANIMALS),
    (
        "My favorite color is {v}.",
        "I like {v} too.",
        "What is my favorite color?",
        "Your favorite color is {v}.",
        COLOURS,
    ),
    ("I like to eat {v}s.", "A {v} tastes good.", "What do I like to eat?", "You like to eat {v}s.", FRUITS),
)
_PERSONA = ("You are {n}, a helpful assistant.", "Your name is {n}.", "You are {n}. Be brief.")


def _exchange(rng: Random) -> tuple[Turn, Turn]:
    questions, answer = rng.choice(_SMALL)
    return Turn("user", rng.choice(questions)), Turn("assistant", answer)


def make_small(rng: Random) -> Item:
    """Fixed exchanges: trained, never tested."""
    before = _exchange(rng) if rng.random() < 0.3 else ()
    question, answer = _exchange(rng)
    key = " ".join(turn.text for turn in (*before, question))
    return Item("small-talk", key, (*before, question), answer.text, answer.text)


def make_recall(rng: Random) -> Item:
    """Two things are said, with something else in between at times; one of them is asked for."""
    facts = [(*fact[:4], rng.choice(fact[4])) for fact in rng.sample(_SAID, rng.choice((1, 2, 2)))]
    turns: list[Turn] = []
    for said, heard, _, _, value in facts:
        turns += [Turn("user", articled(said.format(v=value))), Turn("assistant", articled(heard.format(v=value)))]
    if rng.random() < 0.2:
        turns += _exchange(rng)
    _, _, question, answer, value = rng.choice(facts)
    turns.append(Turn("user", question))
    key = " ".join(turn.text for turn in turns if turn.role == "user")
    return Item("recall", key, tuple(turns), articled(answer.format(v=value)), value)


def make_persona(rng: Random) -> Item:
    name = rng.choice(NAMES)
    system = Turn("system", rng.choice(_PERSONA).format(n=name))
    before = _exchange(rng) if rng.random() < 0.4 else ()
    question = Turn("user", rng.choice(("What is your name?", "Who are you?", "Tell me your name.")))
    key = " ".join(turn.text for turn in (system, *before, question))
    return Item("persona", key, (system, *before, question), f"My name is {name}.", name)


def check_named(item: Item, reply: str) -> bool:
    """The right value and no other that there could be."""
    return commits(reply) and mentioned(reply) == [item.expected]


SMALL_TALK = Task("small-talk", make_small, check_same, 0.4)
TASKS = (Task("recall", make_recall, check_named, 0.8), Task("persona", make_persona, check_named, 0.3))
