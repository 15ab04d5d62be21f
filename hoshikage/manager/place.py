"""One model's place in the house: what is known of it, who waits for it, and the process that runs it.

Changed by the manager's thread only; others may read single fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol

from hoshikage.errors import HoshikageError
from hoshikage.manager.job import Tell, Ticket
from hoshikage.manager.queue import Line
from hoshikage.manager.request import Request
from hoshikage.manager.residency import Holder
from hoshikage.manager.state import State
from hoshikage.manager.timers import Timer
from hoshikage.registry import Model
from hoshikage.settings import Settings
from hoshikage.worker.ask import Ask, Packed


class Worker(Protocol):
    """What is needed of the parent's end of a worker process."""

    @property
    def pid(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    @property
    def last_step(self) -> float: ...  # when it gave its last sign of life
    def ask(self, ask: Ask | Packed, tell: Tell) -> Ticket: ...
    def close(self, patience: float) -> None: ...  # its process is gone when this returns


class Staged(Protocol):
    """A copy of a model in the RAM disk."""

    path: Path
    n_bytes: int

    def is_of(self, path: Path) -> bool: ...  # as the file is now
    def remove(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load gives."""

    worker: Worker
    n_bytes: int = 0  # of the host's and the GPUs' memory, as it was judged
    n_bytes_host: int = 0
    n_seq: int | None = None  # requests side by side, where it is fewer than was wished for
    notes: tuple[str, ...] = ()  # what had to be given up so that it fits


@dataclass(frozen=True, slots=True)
class Terms:
    """What a load has to reckon with."""

    n_bytes_held: int = 0  # of the host's memory, by other models and their copies
    makes_do: bool = False  # nobody can leave: `NoRoom` is no answer


class NoRoom(Exception):  # noqa: N818 -- no mistake: others have to leave first
    """Not enough memory is free for a load that would fit alone."""

    def __init__(self, n_bytes_short: int) -> None:
        super().__init__(n_bytes_short)
        self.n_bytes_short = n_bytes_short


class Load(Protocol):
    """One attempt to load a model."""

    staged: Staged | None  # the copy that there is afterwards, however it went

    def run(self) -> Loaded: ...  # blocks; raises HoshikageError or NoRoom, and has left no process then
    def cancel(self) -> None: ...  # from another thread: `run` ends soon


OnProgress = Callable[[float], object]
OnDeath = Callable[[HoshikageError], object]


class Phase(Enum):
    """What a place is doing."""

    COLD = auto()
    LOADING = auto()
    RESIDENT = auto()
    CLOSING = auto()  # its process is being ended


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a load failed, and until when nobody tries again."""

    error: HoshikageError
    n_times: int
    until: float


@dataclass(slots=True, eq=False)
class Place:
    """One model, from the first time somebody asks for it."""

    model: Model
    identity: Any  # changes with its file
    settings: Settings  # with those of the model
    phase: Phase = Phase.COLD
    line: Line[Request] = field(default_factory=Line)
    running: set[Request] = field(default_factory=set)
    leaving: bool = False  # nothing more is handed to it, and it ends with the last of what it serves
    for_room: bool = False  # it leaves because another wants its room, and for no other reason
    load: Load | None = None  # the one under way, or the one that brought what is there
    loaded: Loaded | None = None
    staged: Staged | None = None
    forgotten: bool = False  # its name is gone: no copy is kept
    failure: Failure | None = None
    progress: float = 0.0
    since: float = 0.0  # in this phase, while it is loading or resident
    used_at: float = 0.0
    served_at: float = 0.0  # when something was last handed to it
    moved_at: float = 0.0
    keep: float = -1.0  # seconds that it stays without work; negative: for good
    n_line_told: int = 0  # how long the line was when all in it were told where they stand
    n_deaths: int = 0  # since it last completed something
    not_before: float = 0.0  # it is not started again before this time
    n_bytes_short: int = 0  # what the last load did not find free
    n_overtaken: int = 0  # models that have come before it since it waits
    timer: Timer | None = None  # of the end of its rest
    watch: Timer | None = None  # of the next look at its load
    load_is_of: tuple[Model, Any] = field(init=False)  # its load, which may be older than what it is of now
    lost: bool = False  # its load was given up and does not end: it is reckoned with no more

    def __post_init__(self) -> None:
        self.load_is_of = self.model, self.identity

    @property
    def label(self) -> str:
        return self.model.label

    def is_of(self, model: Model, identity: Any) -> bool:
        """Whether it is of this model and file; one that cannot be seen is taken for the same."""
        return self.model == model and self.identity == (identity or self.identity)

    @property
    def waits_since(self) -> float:
        """Since when somebody waits and nobody has been served: a model that has had its turn stands behind others."""
        first = self.line.first()
        return max(first.arrived, self.served_at) if first else math.inf

    @property
    def is_serving(self) -> bool:
        return self.phase is Phase.RESIDENT and not self.leaving

    @property
    def may_stay(self) -> bool:
        """Whether it is only asked to leave: it serves again if its room is wanted no more."""
        return self.leaving and self.for_room and self.phase is Phase.RESIDENT

    @property
    def is_holding(self) -> bool:
        """Whether it has memory, or is about to."""
        return self.phase is not Phase.COLD and not self.lost

    def refuses(self, now: float) -> bool:
        """Whether all who ask are told at once why its last load failed."""
        return self.failure is not None and (self.lost or now < self.failure.until)

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.line

    @property
    def is_working(self) -> bool:
        """Whether something ought to move here."""
        is_changing = self.phase in (Phase.LOADING, Phase.CLOSING) and not self.lost
        return bool(self.running or self.line) or is_changing

    @property
    def has_room(self) -> bool:
        """Whether its batch can take one more."""
        n_seq = (self.loaded and self.loaded.n_seq) or self.settings.n_seq
        return len(self.running) - self.n_light < n_seq

    @property
    def n_light(self) -> int:
        """Of those that its worker has, how many need no place in the batch."""
        return sum(request.is_light for request in self.running)

    @property
    def pinned(self) -> bool:
        return self.label in self.settings.pinned

    def holder(self) -> Holder:
        """How the decision about memory sees it."""
        return Holder(
            label=self.label,
            used_at=self.used_at,
            since=self.since,
            n_bytes=self.loaded.n_bytes if self.loaded else 0,
            busy=not self.is_idle,
            loading=self.phase is Phase.LOADING,
            leaving=self.leaving and not self.may_stay,
            asked=self.may_stay,
            pinned=self.pinned,
        )

    def state(self) -> State:
        """In a word that people know."""
        phase = self.phase
        if phase is Phase.COLD or self.lost:
            return "failed" if self.failure else "staged" if self.staged else "cold"
        if self.leaving or phase is Phase.CLOSING:
            return "draining"
        return "loading" if phase is Phase.LOADING else "resident"
