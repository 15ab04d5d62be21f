"""A few questions in Japanese: most characters are several tokens long, a few frequent ones one."""

from __future__ import annotations

from random import Random

from .item import Item, Task, ask

DAYS = "月火水木金土日"
_WORDS = {
    "犬": "dog", "猫": "cat", "鳥": "bird", "魚": "fish", "馬": "horse", "山": "mountain", "川": "river", "海": "sea",
    "空": "sky", "花": "flower", "木": "tree", "水": "water", "火": "fire", "本": "book", "車": "car", "家": "house",
}  # fmt: skip


def _day(rng: Random) -> tuple[str, str, str]:
    """Told off one by one, as the calendar's."""
    start, n = rng.randrange(7), rng.choice((1, 1, 2, 3, 4, 5, 6))
    side, step = rng.choice((("後", 1), ("前", -1)))
    told = [DAYS[(start + step * k) % 7] for k in range(1, n + 1)]
    question = f"{DAYS[start]}曜日の{n}日{side}は？"
    if n == 1 and rng.random() < 0.5:
        question = f"{DAYS[start]}曜日の{'次' if step == 1 else '前'}の日は？"
    return question, f"{'、'.join(told)}。{told[-1]}曜日です。", f"day {start} {step * n}"


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
    question, answer, key = rng.choice((_day, _sum, _sum, _translate, _translate))(rng)
    return ask("japanese", key, question, answer, _last_sentence(answer))


def _last_sentence(text: str) -> str:
    return text.strip().removesuffix("。").rpartition("。")[2]


def check(item: Item, reply: str) -> bool:
    return bool(_last_sentence(reply) == item.expected)


TASKS = (Task("japanese", make, check, 0.9),)
