"""What the forms of OpenAI's routes share: who they are, and what they count."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hoshikage._version import __version__
from hoshikage.worker.ask import Answered, Said

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

    def counted(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.n_prompt,
            "completion_tokens": self.n_tokens,
            "total_tokens": self.n_prompt + self.n_tokens,
        }

    def _round(self, kind: str, choices: list[dict[str, Any]], warnings: Sequence[str]) -> dict[str, Any]:
        about = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        warned = {"warning": "; ".join(warnings)} if warnings else {}
        return {**about, "system_fingerprint": f"hoshikage-{__version__}", "choices": choices, **warned}


def about_work(answered: Answered) -> dict[str, Any]:
    """What an answer took, beside it: nothing that OpenAI's clients look at."""
    counts = answered.counts
    n_passes = counts.get("n_passes", 0)
    return {
        "seed": answered.seed,
        "passes": n_passes,
        "warm_passes": counts.get("n_warm", 0),
        "rows": counts.get("n_rows", 0),
        "seconds": round(counts.get("seconds", 0.0), 6),
        "tokens_per_pass": round(counts["n_tokens"] / n_passes, 3) if n_passes else 0.0,
        **({"how": answered.how} if answered.how else {}),
    }


def canvas_of(said: Said) -> dict[str, Any]:
    """The moving canvas: the text at each position, null where it is masked, and how sure each one was."""
    return {
        "step": said.step,
        "steps": said.n_steps,
        "canvas": list(said.cells),
        "masked": [i for i, cell in enumerate(said.cells) if cell is None],
        "confidence": [round(sure, 4) for sure in said.confidence],
    }
