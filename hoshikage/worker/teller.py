"""One ask's news, told as its events: what of each answer was said before, and what is new."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace

from hoshikage.engine.answer import Answer
from hoshikage.engine.desk import News
from hoshikage.engine.result import Result
from hoshikage.worker.ask import Answered, Failed, Said, Token, Watch

NEVER = -9999.0  # the logarithm of what is impossible


@dataclass(slots=True, eq=False)
class Teller:
    """Turns the news of one ask's answers into events."""

    watch: Watch
    n_left: int  # answers that have not ended
    failed: bool = False
    _n_characters: dict[int, int] = field(default_factory=dict)  # of each answer, that were told
    _n_tokens: dict[int, int] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether the last answer has ended, or one has failed."""
        return self.failed or self.n_left == 0

    def event(self, news: News) -> Said | Answered | Failed | None:
        """What is to be told of it, if anything is."""
        if news.error is not None:
            self.failed = True
            return Failed(error=news.error)
        if news.result is not None:
            self.n_left -= 1
            return self._answered(news.answer, news.result)
        return self._said(news)

    def _answered(self, answer: Answer, result: Result) -> Answered:
        return Answered(
            index=answer.index,
            delta=result.text[self._n_characters.pop(answer.index, 0) :],
            text=result.text,
            stop_reason=result.stop_reason,
            counts=asdict(result.counts),
            stopped_by=result.stopped_by,
            how=result.how,
            in_thought=answer.in_thought,
            seed=result.seed,
            warnings=result.warnings,
            tokens=self._new_tokens(answer),
            prompt=tuple(map(sayable, answer.told_prompt())),
        )

    def _said(self, news: News) -> Said | None:
        answer = news.answer
        tokens = self._new_tokens(answer)
        step, n_steps = answer.progress
        if self.watch == "canvas":
            cells, confidence = news.snapshot().cells, tuple(answer.confidence())
        elif news.delta or tokens:
            cells, confidence = (), ()
        else:
            return None
        told = self._n_characters.get(answer.index, 0)
        self._n_characters[answer.index] = told + len(news.delta)
        return Said(
            index=answer.index,
            delta=news.delta,
            step=step,
            n_steps=n_steps,
            in_thought=answer.in_thought,
            tokens=tokens,
            cells=cells,
            confidence=confidence,
        )

    def _new_tokens(self, answer: Answer) -> tuple[Token, ...]:
        """The tokens that were read since the last event, when their probabilities were asked for."""
        told = self._n_tokens.get(answer.index, 0)
        tokens = answer.told(told)
        self._n_tokens[answer.index] = told + len(tokens)
        return tuple(map(sayable, tokens))


def sayable(token: Token) -> Token:
    """The token as JSON can say it."""
    return token if math.isfinite(token.logprob) else replace(token, logprob=NEVER)
