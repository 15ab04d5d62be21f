"""An example: token ids and the span a model has to produce."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tokenizers import Tokenizer

from hoshikage.evaluate.tasks import Item, Turn

from ..tokenizer import ASSISTANT, EOS, EOT, ROLES


@dataclass(frozen=True)
class Example:
    """`ids[lo:hi]` is the reply, its end-of-turn token included. A document without turns has lo = 0."""

    ids: list[int]
    lo: int
    hi: int
    is_chat: bool


def encode_turns(tokenizer: Tokenizer, turns: tuple[Turn, ...]) -> list[int]:
    """The prompt as the chat template writes it, up to and including the role of the reply."""
    ids: list[int] = []
    for turn in turns:
        ids += [ROLES[turn.role], *tokenizer.encode(turn.text.strip()).ids, EOT]
    return [*ids, ASSISTANT]


def encode_chat(tokenizer: Tokenizer, item: Item) -> Example:
    prompt = encode_turns(tokenizer, item.turns)
    reply = [*tokenizer.encode(item.answer).ids, EOT]
    return Example(prompt + reply, len(prompt), len(prompt) + len(reply), True)


def encode_document(tokenizer: Tokenizer, item: Item, rng: Random) -> Example:
    """The same text without roles: the answer alone, or the question above it. Some end with EOS."""
    text = item.answer if rng.random() < 0.3 else f"{item.turns[-1].text}\n{item.answer}"
    ids = tokenizer.encode(text).ids + [EOS] * rng.randint(0, 1)
    return Example(ids, 0, len(ids), False)
