"""What an engine decided, held to what the oracle says: narrow decisions may come out otherwise, but rarely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tests.engine import NEAR_TIE, facts
from tests.reference import Result


class Decided(Protocol):
    """A case of either kind."""

    salt: int

    def decode(self) -> Result:
        """As the oracle does."""


class Tally:
    """Compares, and holds those to be rare that float32 decided otherwise at what the oracle itself calls a near-tie.

    Only what came out otherwise counts, and each tie once: hypothesis draws what it likes again, with other numbers
    around the same narrow decision, so that one tie can be in a dozen examples.
    """

    def __init__(self) -> None:
        self.n = 0
        self.otherwise: set[tuple[float, int]] = set()

    def compare(self, case: Decided, result: Result, look: Callable[[Result], Any] = facts) -> None:
        """`look`: all that has to be the same."""
        expected = case.decode()
        self.n += 1
        if expected.margin >= NEAR_TIE:
            assert look(result) == look(expected)
        elif look(result) != look(expected):
            self.otherwise.add((expected.margin, case.salt))

    def assert_ties_are_rare(self) -> None:
        assert self.n > 20
        assert len(self.otherwise) <= 1 + 0.01 * self.n, self.otherwise
