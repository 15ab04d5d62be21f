"""A world for the manager's rules: no thread, no process, a clock that is set; what runs aside ends when told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hoshikage.errors import HoshikageError, NoRoomError, WorkerDied
from hoshikage.manager.job import Job, Tell
from hoshikage.manager.place import Loaded, NoRoom, OnDeath, OnProgress, Place, Terms
from hoshikage.manager.queue import Gate
from hoshikage.manager.request import Request
from hoshikage.manager.state import Pulse
from hoshikage.manager.steward import Steward
from hoshikage.manager.timers import Timers
from hoshikage.manager.view import pulse_of
from hoshikage.registry import Model
from hoshikage.settings import Settings
from hoshikage.worker.ask import Answered, Ask, Done, Event, Failed


@dataclass(eq=False)
class FakeAsk:
    """An ask that a fake worker has, and the ticket for it."""

    worker: FakeWorker
    ask: Ask
    tell: Tell
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass(eq=False)
class FakeWorker:
    """The parent's end of a process that does what a test says."""

    label: str
    world: World
    on_death: OnDeath
    pid: int = 1
    alive: bool = True
    last_step: float = 0.0
    patience: float | None = None  # that it was ended with
    asks: list[FakeAsk] = field(default_factory=list)

    def ask(self, ask: Ask, tell: Tell) -> FakeAsk:
        if not self.alive:
            raise WorkerDied("it has ended")
        self.asks.append(FakeAsk(self, ask, tell))
        return self.asks[-1]

    def finish(self, ask: FakeAsk, event: Event | None = None) -> None:
        self.asks.remove(ask)
        ask.tell(event or Done())

    def close(self, patience: float) -> None:
        self.patience = patience
        self._end(WorkerDied("it was told to end"))

    def die(self) -> None:
        """As by kill -9."""
        if self.alive:
            self._end(WorkerDied("it was killed"))
            self.on_death(WorkerDied("it was killed"))

    def _end(self, error: WorkerDied) -> None:
        self.alive = False
        asks, self.asks = self.asks, []
        for ask in asks:
            ask.tell(Failed(error=error))


@dataclass(eq=False)
class FakeCopy:
    """A copy that says whether it has been removed."""

    n_bytes: int
    path: Path = Path("/ram/copy")
    removed: bool = False

    def is_of(self, _: Path) -> bool:
        return True

    def remove(self) -> None:
        assert not self.removed
        self.removed = True


@dataclass(eq=False)
class FakeLoad:
    """A load whose outcome a test chooses before it lets it run."""

    place: Place
    terms: Terms
    world: World
    on_progress: OnProgress
    on_death: OnDeath
    staged: FakeCopy | None = None
    outcome: Exception | None = None
    cancelled: bool = False
    notes: tuple[str, ...] = ()
    dies: bool = False  # as soon as it is loaded, before anybody can hear of it

    def run(self) -> Loaded:
        if self.world.stages and self.staged is None:
            self.staged = FakeCopy(10)
            self.world.copies.append(self.staged)
        if self.cancelled or self.place.lost:  # its cancel was heard long ago
            raise HoshikageError("the load was given up")
        if self.outcome is not None:
            raise self.outcome
        n_bytes = self.world.sizes.get(self.place.label, 1)
        taken = sum(self.world.sizes.get(worker.label, 1) for worker in self.world.living())
        if taken + n_bytes > self.world.memory:
            short = taken + n_bytes - self.world.memory
            raise NoRoomError(f"{short} bytes are missing") if self.terms.makes_do else NoRoom(short)
        worker = FakeWorker(self.place.label, self.world, self.on_death, last_step=self.world.time)
        self.world.workers.append(worker)
        if self.dies:
            worker.die()
        return Loaded(worker=worker, n_bytes=n_bytes, n_bytes_host=n_bytes, notes=self.notes)

    def cancel(self) -> None:
        self.cancelled = True


@dataclass(eq=False)
class Client:
    """One who asked, and what it was told."""

    request: Request | None = None
    told: list[Event] = field(default_factory=list)

    @property
    def end(self) -> Event | None:
        return self.told[-1] if self.told and isinstance(self.told[-1], (Done, Failed)) else None

    @property
    def error(self) -> HoshikageError | None:
        return self.end.error if isinstance(self.end, Failed) else None

    def hear(self, event: Event) -> None:
        assert self.end is None, f"{event} came after {self.end}"
        self.told.append(event)


class World:
    """The manager's rules with everything around them."""

    def __init__(self, memory: int = 10**9, sizes: dict[str, int] | None = None, **settings: Any) -> None:
        self.settings = Settings(**{"n_seq": 2, **settings})
        self.timers = Timers()
        self.time = 0.0
        self.memory, self.sizes = memory, sizes or {}
        self.stages = False
        self.has_threads = True
        self.messages: deque[Callable[[], object]] = deque()
        self.errands: list[Callable[[], object]] = []  # what would run on threads of their own
        self.loads: list[FakeLoad] = []
        self.workers: list[FakeWorker] = []
        self.copies: list[FakeCopy] = []
        self.clients: list[Client] = []
        self.gate = Gate(self.settings.max_waiting, self.settings.max_per_key)
        self.steward = Steward(self.settings, self, self.gate)

    # -- the means of the manager

    def now(self) -> float:
        return self.time

    def post(self, action: Callable[[], object]) -> None:
        self.messages.append(action)

    def aside(self, action: Callable[[], object], or_else: Callable[[], object] | None = None) -> None:
        if self.has_threads or or_else is None:
            self.errands.append(action)
        else:
            self.post(or_else)

    def new_load(self, place: Place, terms: Terms, on_progress: OnProgress, on_death: OnDeath) -> FakeLoad:
        assert terms.n_bytes_held >= sum(self.sizes.get(worker.label, 1) for worker in self.living())
        self.loads.append(FakeLoad(place, terms, self, on_progress, on_death, place.staged))  # type: ignore[arg-type]
        return self.loads[-1]

    # -- what a test does

    def ask(self, label: str, key: str = "", *, identity: Any = 1, kind: Any = "generate", **job: Any) -> Client:
        self.gate.enter(key)
        client = Client()
        client.request = Request(
            len(self.clients), Job(model=label, ask=Ask(kind=kind), key=key, **job),
            Model(label, Path("/models") / label, "registered"), client.hear, self.time,
            lambda request: self.post(lambda: self.steward.cancelled(request)),
        )  # fmt: skip
        self.clients.append(client)
        request = client.request
        self.do(lambda: self.steward.submitted(request, identity))
        return client

    def cancel(self, client: Client) -> None:
        assert client.request is not None
        client.request.cancel()
        self.settle()

    def do(self, action: Callable[[], object]) -> None:
        self.post(action)
        self.settle()

    def settle(self) -> None:
        """The manager's thread works until it has nothing to do."""
        while self.messages:
            self.messages.popleft()()
            for action in self.timers.due(self.time):
                action()
        for action in self.timers.due(self.time):
            action()
            self.settle()

    def pass_time(self, seconds: float) -> None:
        """Timers go off at their own time, not all at the end."""
        end = self.time + seconds
        while (when := self.timers.next()) is not None and when <= end:
            self.time = max(self.time, when)
            self.settle()
        self.time = end
        self.settle()

    def run_errand(self, index: int = 0) -> None:
        self.errands.pop(index)()
        self.settle()

    def run_errands(self) -> None:
        while self.errands:
            self.run_errand()

    def living(self) -> list[FakeWorker]:
        return [worker for worker in self.workers if worker.alive]

    def worker(self, label: str) -> FakeWorker:
        return next(worker for worker in reversed(self.workers) if worker.label == label and worker.alive)

    def finish(self, ask: FakeAsk, event: Event | None = None) -> None:
        ask.worker.finish(ask, event)
        self.settle()

    def finish_all(self) -> None:
        """Everything that can go on goes on until nobody is left."""
        for _ in range(10_000):
            self.run_errands()
            asks = [ask for worker in self.living() for ask in worker.asks]
            if not asks:
                when = self.timers.next()
                if all(client.end for client in self.clients) or when is None:
                    return
                self.pass_time(max(0.0, when - self.time))
            for ask in asks:
                if ask in ask.worker.asks:
                    self.finish(ask)

    def have(self, *labels: str) -> None:
        """Models that are in memory and have nothing to do."""
        for label in labels:
            self.ask(label)
            self.finish_all()

    def describe(self) -> str:
        places = self.steward.keeper.places.values()
        lines = [f"{p.label}: {p.phase}, leaving {p.leaving}, {len(p.line)} wait, {len(p.running)} run, short "
                 f"{p.n_bytes_short}, not before {p.not_before}" for p in places]  # fmt: skip
        return "\n".join([f"time {self.time}, {len(self.errands)} errands, next {self.timers.next()}", *lines])

    def pulse(self) -> Pulse:
        return pulse_of(self.steward, self.gate, None, self.time, self.settings.watchdog_timeout)

    def state(self, label: str) -> str:
        return self.steward.keeper.places[label].state()


def answered(text: str = "") -> Answered:
    return Answered(index=0, delta="", text=text, stop_reason="stop", counts={}, seed=0)
