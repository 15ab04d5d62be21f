"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hoshikage.manager.job import Job, Tell, Ticket
from hoshikage.manager.state import ModelState, Pulse
from hoshikage.registry import Registry
from hoshikage.server.choosing import Choices
from hoshikage.server.files import Files
from hoshikage.server.lookout import Lookout
from hoshikage.server.metrics import Metrics
from hoshikage.server.rates import Rates
from hoshikage.server.reynard.office import Office
from hoshikage.server.routes import Route
from hoshikage.server.shell.limits import Limits
from hoshikage.settings import Settings


class Manager(Protocol):
    """What the server asks of whoever holds the models. Safe from any thread.

    All but `pulse` and `is_on_gpu` may take a while; `submit`, `wake` and `models` look at files, which may hang.
    """

    def start(self) -> None:
        """Begin."""

    def submit(self, job: Job, tell: Tell) -> Ticket:
        """Queue a job; raises what is known at once."""

    def models(self) -> Sequence[ModelState]:
        """Every model there is, and what is being done with it."""

    def is_on_gpu(self, label: str) -> bool:
        """Whether some of a model is in the memory of a GPU."""

    def wake(self, label: str, keep_alive: float | None = None) -> Ticket:
        """Load a model though nothing is asked of it yet."""

    def unload(self, label: str) -> None:
        """Give its memory back as soon as nobody uses it."""

    def forget(self, label: str) -> None:
        """The same for a model whose name is gone, with all that is kept of it."""

    def pulse(self) -> Pulse:
        """Whether work moves."""

    def stop(self, drain: float | None = None) -> None:
        """Let nothing new in, give the rest so many seconds, end all workers; a second call: at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Made once, at the start."""

    settings: Settings
    registry: Registry
    manager: Manager
    metrics: Metrics
    limits: Limits
    started: float = field(default_factory=time.time)
    files: Files = field(default_factory=Files)
    choices: Choices = field(init=False)
    lookout: Lookout = field(init=False)
    reynard: Office = field(init=False)
    rates: Rates = field(init=False)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # for what would go on for ever
    routes: list[Route] = field(default_factory=list)  # all of them, once they are there

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", Choices(self.files, self.registry))
        object.__setattr__(self, "lookout", Lookout(self.files, self.manager.models))
        object.__setattr__(self, "reynard", Office(self.settings))
        object.__setattr__(self, "rates", Rates(self.settings))
