"""A job for the manager, and the ticket that is given for it: the seam between a server and what computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from hoshikage.worker.ask import Ask, Event, Packed

Tell: TypeAlias = Callable[[Event], object]
Count: TypeAlias = Callable[[Mapping[str, float]], object]


def nobody_counts(_: Mapping[str, float]) -> None:
    """What it took is nobody's business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something asked of a model by its label, on behalf of somebody.

    Events go to the `tell` that was given with it, from the manager's threads, one at a time and in order; the last
    one is `Done` or `Failed`, exactly once, whatever happens to the model. `tell` must not wait for anything.

    `count` is called in the same way with the counts of each answer, just before its `Answered`; of one that its model
    ended later than the job, because its time was up, when nobody hears its `Answered` any more.
    """

    model: str
    ask: Ask | Packed
    key: str = ""  # whose it is: those who share a key share its turns
    wait: float | None = None  # seconds until it is handed to its model, at most the manager's own; 0: no limit
    time: float | None = None  # seconds that it may take altogether; likewise
    keep_alive: float | None = None  # seconds that the model stays afterwards; -1: for good, None: IDLE_TIMEOUT
    settings: Mapping[str, Any] = field(default_factory=dict)  # what a load that begins for it is wanted with
    count: Count = nobody_counts


class Ticket(Protocol):
    """What can still be done about a job that was handed in."""

    def cancel(self) -> None:
        """End it with what is there: safe from any thread, at any time, and more than once."""
