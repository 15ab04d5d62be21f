"""Counting: right answers with their interval, and what they took."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hoshikage.evaluate.subject import Reply, Subject
from hoshikage.evaluate.tasks import Item

Z = 1.96  # of a 95 % interval


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: right also near 0 and 1, and for few questions."""
    if n == 0:
        return 0.0, 1.0
    share, spread = right / n, Z * Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Score:
    """Some replies, added up. Rates are None where nothing is known to make them of."""

    n: int
    right: int
    n_tokens: int
    seconds: float
    n_passes: int | None
    n_rows: int | None

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> Score:
        passes, rows = _sum(r.n_passes for r in replies), _sum(r.n_rows for r in replies)
        n_tokens, seconds = sum(r.n_tokens for r in replies), sum(r.seconds for r in replies)
        return cls(len(replies), sum(r.right for r in replies), n_tokens, seconds, passes, rows)

    @property
    def accuracy(self) -> float:
        return self.right / self.n if self.n else 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """To the end of the answer: padding and prompt are not counted."""
        return self.n_tokens / self.seconds if self.seconds > 0 else None

    @property
    def tokens_per_pass(self) -> float | None:
        return self.n_tokens / self.n_passes if self.n_passes else None

    @property
    def rows_per_token(self) -> float | None:
        """Positions computed for a token of the answer: the cost, whatever the machine."""
        return self.n_rows / self.n_tokens if self.n_rows is not None and self.n_tokens else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "interval": list(interval(self.right, self.n)),
            "right": self.right,
            "questions": self.n,
            "tokens": self.n_tokens,
            "seconds": self.seconds,
            "passes": self.n_passes,
            "rows": self.n_rows,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_pass": self.tokens_per_pass,
            "rows_per_token": self.rows_per_token,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A whole evaluation: the score of each task and of all together."""

    name: str
    options: dict[str, Any]
    total: Score
    tasks: dict[str, Score]
    n_left: int = 0  # questions that were not answered, as something ended it before
    asked: Mapping[str, Any] = field(default_factory=dict)  # what makes two evaluations of one model others

    @property
    def is_partial(self) -> bool:
        return self.n_left > 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON: the total's figures at the top level, the tasks' below."""
        tasks = {name: score.as_dict() for name, score in self.tasks.items()}
        whole = {"partial": self.is_partial, "questions_left": self.n_left}
        head = {"model": self.name, "asked": dict(self.asked), "options": self.options}
        return {**head, **whole, **self.total.as_dict(), "tasks": tasks}


class Evaluation:
    """Questions that are asked one after the other, and what was found until now, whatever ends it."""

    def __init__(
        self,
        subject: Subject,
        items: Sequence[Item],
        options: dict[str, Any],
        asked: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._subject, self._items, self._options, self._asked = subject, items, options, asked
        self._replies: dict[str, list[Reply]] = {}

    def run(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Asks every question. progress(done, n) is called after each."""
        for number, item in enumerate(self._items, 1):
            reply = self._subject.answer(item)
            self._replies.setdefault(item.task, []).append(reply)
            if progress is not None:
                progress(number, len(self._items))

    def report(self) -> Report:
        """Of the questions that were answered."""
        everything = [reply for group in self._replies.values() for reply in group]
        tasks = {task: Score.of(group) for task, group in self._replies.items()}
        n_left = len(self._items) - len(everything)
        return Report(self._subject.name, self._options, Score.of(everything), tasks, n_left, self._asked)


def evaluate(
    subject: Subject,
    items: Sequence[Item],
    options: dict[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Asks every question and adds up."""
    evaluation = Evaluation(subject, items, options)
    evaluation.run(progress)
    return evaluation.report()


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return sum(count for count in known if count is not None) if None not in known else None
