"""A few questions in Japanese: every character is several tokens long."""

from __future__ import annotations

from random import Random

from .item import Item, Task, ask

DAYS = "月火水木金土日"
_WORDS = {
    "犬": "dog", "猫": "cat", "鳥": "bird", "魚": "fish", "馬": "horse", "山": "mountain", "川": "river", "海": "sea",
    "空": "sky", "花": "flower", "木": "tree", "水": "water", "火": "fire", "本": "book", "車": "car", "家": "house",
}  # fmt: skip


def _next_day(rng: Random) -> tuple[str, str, str]:
    start = rng.randrange(7)
    side, step = rng.choice((("次", 1), ("前", -1)))
    answer = f"{DAYS[(start + step) % 7]}曜日です。"
    return f"{DAYS[start]}曜日の{side}の日は？", answer, f"day {start} {step}"


def _sum(rng: Random) -> tuple[str, str, str]:
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    if rng.random() < 0.5 or a < b:
        return f"{a}たす{b}は？", f"{a + b}です。", f"{a}+{b}"
    return f"{a}ひく{b}は？", f"{a - b}です。", f"{a}-{b}"


def _translate(rng: Random) -> tuple[str, str, str]:
    """The meaning is given first, so that an unseen pair of words can be answered."""
    (one, meaning), (other, other_meaning) = rng.sample(list(_WORDS.items()), 2)
    question, answer = rng.choice(((one, meaning), (other, other_meaning)))
    return (
        f"{one}は{meaning}、{other}は{other_meaning}。{question}は英語で？",
        f"{answer}です。",
        f"{one}{other}{question}",
    )


def make(rng: Random) -> Item:
    question, answer, key = rng.choice((_next_day, _sum, _sum, _translate, _translate))(rng)
    return ask("japanese", key, question, answer, answer)


def check(item: Item, reply: str) -> bool:
    return bool(reply.strip() == item.expected)


TASKS = (Task("japanese", make, check, 0.9),)
