"""What the forms of OpenAI's routes share: who they are, and what they count."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hoshikage._version import __version__
from hoshikage.server.fields import warned
from hoshikage.server.openai.logprobs import Written
from hoshikage.server.reply import Form
from hoshikage.worker.ask import Answered, Said, Token

WORK = {"n_passes": "passes", "n_warm": "warm_passes", "n_rows": "rows"}
FINISH = {"stop": "stop", "length": "length", "cancelled": "length"}


@dataclass(slots=True, kw_only=True)
class Envelope:
    """What stands round every chunk of one answer, and is the same in all of them."""

    prefix: str  # of the id
    kind: str  # "object" of the whole answer
    chunk_kind: str
    model: str
    usage: bool  # whether a stream ends with its usage
    n: int  # answers to each prompt
    warnings: Sequence[str] = ()
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    n_prompt: int = 0
    n_tokens: int = 0
    work: Counter[str] = field(default_factory=Counter)  # of all answers
    how: str = ""

    def __post_init__(self) -> None:
        self.id = f"{self.prefix}-{secrets.token_hex(12)}"

    def chunk(self, choices: list[dict[str, Any]], warnings: Sequence[str] = ()) -> dict[str, Any]:
        """A chunk of a stream."""
        chunk = self._round(self.chunk_kind, choices, warnings)
        if self.usage:
            chunk["usage"] = None
        return chunk

    def usage_chunk(self) -> dict[str, Any]:
        """The one at the end that only counts."""
        return self._round(self.chunk_kind, [], ()) | {"usage": self.counted()}

    def whole(self, choices: list[dict[str, Any]], warnings: Sequence[str]) -> dict[str, Any]:
        """The answer in one piece."""
        return self._round(self.kind, choices, warnings) | {"usage": self.counted()}

    def count(self, answered: Answered) -> None:
        """Take an answer into the usage; a prompt counts once, however often it is answered."""
        if answered.index % self.n == 0:
            self.n_prompt += int(answered.counts["n_prompt"])
        self.n_tokens += int(answered.counts["n_tokens"])
        self.work.update({name: int(answered.counts.get(name, 0)) for name in WORK})
        self.how = answered.how

    def counted(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.n_prompt,
            "completion_tokens": self.n_tokens,
            "total_tokens": self.n_prompt + self.n_tokens,
            "hoshikage": worked(self.work, self.n_tokens, self.how),
        }

    def _round(self, kind: str, choices: list[dict[str, Any]], warnings: Sequence[str]) -> dict[str, Any]:
        about = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**about, "system_fingerprint": f"hoshikage-{__version__}", "choices": choices, **warned(warnings)}


@dataclass(slots=True, kw_only=True)
class Choice:
    """One answer as far as it is known."""

    index: int
    text: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    end: Answered | None = None
    _written: Written = field(default_factory=Written)

    def grow(self, event: Said | Answered, text: str) -> list[Token]:
        """Take what an event adds to it, of which this is the text; the tokens that are certain now."""
        tokens = self._written.take(event)
        self.text.append(text)
        self.tokens += tokens
        return tokens


AnyChoice = TypeVar("AnyChoice", bound=Choice)


class EnvelopeForm(Form, Generic[AnyChoice]):
    """What the forms of OpenAI's routes do in the same way."""

    def __init__(self, envelope: Envelope, choices: list[AnyChoice]) -> None:
        self._envelope = envelope
        self._choices = choices

    def closing(self) -> Iterator[dict[str, Any]]:
        """The usage, where it was asked for."""
        if self._envelope.usage:
            yield self._envelope.usage_chunk()

    def _warnings(self) -> Sequence[str]:
        ends = [choice.end for choice in self._choices if choice.end is not None]
        return list(dict.fromkeys([*self._envelope.warnings, *(text for end in ends for text in end.warnings)]))


def about_work(answered: Answered) -> dict[str, Any]:
    """What an answer took, beside it: nothing that OpenAI's clients look at."""
    counts = answered.counts
    seconds = round(counts.get("seconds", 0.0), 6)
    return {"seed": answered.seed, "seconds": seconds, **worked(counts, counts["n_tokens"], answered.how)}


def worked(counts: Mapping[str, float], n_tokens: float, how: str) -> dict[str, Any]:
    """Passes, and what they brought; `how` is the plan and the rule of a diffusion model, in words."""
    figures = {name: counts.get(count, 0) for count, name in WORK.items()}
    n_passes = figures["passes"]
    per_pass = round(n_tokens / n_passes, 3) if n_passes else 0.0
    return {**figures, "tokens_per_pass": per_pass, **({"how": how} if how else {})}


def canvas_of(said: Said) -> dict[str, Any]:
    """The moving canvas: the text at each position, null where it is masked, and how sure each one was."""
    return {
        "step": said.step,
        "steps": said.n_steps,
        "canvas": list(said.cells),
        "masked": [i for i, cell in enumerate(said.cells) if cell is None],
        "confidence": [round(sure, 4) for sure in said.confidence],
    }
