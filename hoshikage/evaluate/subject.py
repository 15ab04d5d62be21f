"""Who is asked: a model file in this process. `server` has the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from hoshikage.errors import Cancelled
from hoshikage.evaluate.tasks import TASKS, Item, is_free

LONGEST_GAP = 12
OPEN = [0, 32]  # tokens that may be put where the length is to be found
USUAL: dict[str, object] = {"temperature": 0.0, "max_tokens": 128}
"""What is asked for unless a person says otherwise: the likeliest answer, with room to spare for the longest right one.
A diffusion model computes the whole room at every step."""
THE_MODEL_ITSELF: dict[str, object] = {"quality": "exact", "repetition_penalty": 1.0}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and what it took. None: not known, as from a server that does not say."""

    right: bool
    text: str
    n_tokens: int
    seconds: float
    n_passes: int | None = None
    n_rows: int | None = None


class Subject(Protocol):
    name: str

    def answer(self, item: Item) -> Reply: ...


def messages_of(item: Item) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in item.turns]


class ModelFile:
    """A loaded engine; `options` are those of its requests."""

    def __init__(self, engine: Any, name: str, options: Mapping[str, object]) -> None:
        self.name = name
        self._engine, self._options = engine, {**USUAL, **THE_MODEL_ITSELF, **options}

    def answer(self, item: Item) -> Reply:
        result = self._engine.chat(messages_of(item), **self._options)
        return self._reply(result, TASKS[item.task].passes(item, result.text))

    @staticmethod
    def _reply(result: Any, right: bool) -> Reply:
        if result.stop_reason == "cancelled":  # by the board among the options: what there is, is no answer
            raise Cancelled
        counts = result.counts
        return Reply(right, result.text, counts.n_tokens, counts.seconds, counts.n_passes, counts.n_rows)


def gap_in(item: Item, n_reply: int) -> tuple[int, int]:
    """Where the gap in a question's right reply begins, and how long it is: the same whoever is asked."""
    rng = Random(f"{item.task}/{item.key}")
    n = rng.randint(1, min(LONGEST_GAP, n_reply))
    return rng.randint(0, n_reply - n), n


def fills(item: Item, text: str) -> bool:
    """Whether a reply whose gap was filled is right: what stood there, and in a story whatever keeps it consistent."""
    return text == item.answer or (is_free(item) and TASKS[item.task].passes(item, text))


class GapFiller(ModelFile):
    """The same engine, asked to fill a gap in the right reply and told how long it is."""

    told_length = True

    def answer(self, item: Item) -> Reply:
        engine = self._engine
        prompt, reply = engine.chat_tokens(messages_of(item)), engine.tokenize(item.answer)
        lo, n = gap_in(item, len(reply))
        length = n if self.told_length else OPEN
        suffix = [*reply[lo + n :], *self._end()]
        result = engine.infill([*prompt, *reply[:lo]], suffix, length=length, **self._options)
        text = engine.detokenize([*reply[:lo], *result.tokens, *reply[lo + n :]])
        return self._reply(result, fills(item, text))

    def _end(self) -> list[int]:
        """The token that ends a turn: behind the reply, so that the model knows where it stops."""
        model = self._engine.model
        end = model.eot_id if model.eot_id >= 0 else model.eos_id
        return [end] if end >= 0 else []


class OpenGapFiller(GapFiller):
    """The same, and it has to find the length itself."""

    told_length = False
