"""What holds for the manager's rules whatever happens, in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hoshikage.errors import MemoryExhausted, ModelLoadError
from hoshikage.manager.place import NoRoom, Phase
from hoshikage.worker.ask import Done, Failed, Loading, Waiting
from tests.long import LONG
from tests.world import Client, FakeAsk, World, answered

LABELS, KEYS = st.sampled_from("abcd"), st.sampled_from(["", "x", "y"])
OUTCOMES = st.sampled_from([None, None, None, ModelLoadError("/m", "it is broken"), MemoryExhausted("none"), NoRoom(3)])
SECONDS = st.sampled_from([0.1, 1.0, 5.0, 20.0, 400.0])


class Life(RuleBasedStateMachine):
    """Clients, models, time and accidents in any order."""

    @initialize(
        n_max=st.integers(0, 3), memory=st.integers(4, 12), n_seq=st.integers(1, 3), stages=st.booleans(),
        pinned=st.sampled_from([(), ("a",), ("a", "b")]), waiting=st.sampled_from([3, 1000]),
    )  # fmt: skip
    def begin(self, n_max: int, memory: int, n_seq: int, stages: bool, pinned: tuple[str, ...], waiting: int) -> None:
        self.world = World(
            memory=memory, sizes={"a": 1, "b": 2, "c": 3, "d": 4}, n_seq=n_seq, pinned=pinned, max_resident=n_max,
            max_waiting=waiting, idle_timeout=10, great_timeout=1, watchdog_timeout=120,
        )  # fmt: skip
        self.world.stages = stages
        self.identities = dict.fromkeys("abcd", 1)

    @rule(
        label=LABELS, key=KEYS, wait=st.sampled_from([None, 0.5, 30.0]), time=st.sampled_from([None, 2.0, 90.0]),
        keep=st.sampled_from([None, None, 0.0, -1.0, 3.0]), kind=st.sampled_from(["generate", "tokenize"]),
    )  # fmt: skip
    def ask(self, label: str, key: str, **job: Any) -> None:
        if self.world.gate.n_waiting < self.world.settings.max_waiting:
            keep_alive = job.pop("keep")
            self.world.ask(label, key, identity=self.identities[label], keep_alive=keep_alive, **job)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.world.clients:
            client: Client = data.draw(st.sampled_from(self.world.clients[-8:]))
            assert client.request is not None
            client.request.cancel()
            self.world.settle()

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(data=st.data(), outcome=OUTCOMES)
    def end_an_errand(self, data: st.DataObject, outcome: Exception | None) -> None:
        if self.world.errands:
            for load in self.world.loads[-1:]:
                load.outcome = None if load.terms.makes_do else outcome
            self.world.run_errand(data.draw(st.integers(0, len(self.world.errands) - 1)))

    @rule(fraction=st.floats(0, 1))
    def progress(self, fraction: float) -> None:
        for load in self.world.loads[-1:]:
            load.on_progress(fraction)
            self.world.settle()

    def asks(self) -> list[FakeAsk]:
        return [ask for worker in self.world.living() for ask in worker.asks]

    @rule(data=st.data(), well=st.booleans())
    def finish(self, data: st.DataObject, well: bool) -> None:
        if asks := self.asks():
            ask = data.draw(st.sampled_from(asks))
            ask.tell(answered("text"))
            self.world.finish(ask, Done() if well else Failed(error=MemoryExhausted("of its own")))

    @precondition(lambda self: self.world.living())
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.world.living())).die()
        self.world.settle()

    @rule(label=LABELS)
    def unload(self, label: str) -> None:
        self.world.do(lambda: self.world.steward.unload(label))

    @rule(label=LABELS)
    def forget(self, label: str) -> None:
        self.world.do(lambda: self.world.steward.forget(label))
        place = self.world.steward.keeper.places.get(label)
        assert not (place and place.phase is Phase.COLD and place.is_idle and place.staged)

    @rule(label=LABELS)
    def replace_the_file(self, label: str) -> None:
        self.identities[label] += 1

    # -- what always holds

    @invariant()
    def memory_is_kept_within_bounds(self) -> None:
        world, places = self.world, self.world.steward.keeper.places.values()
        labels = [worker.label for worker in world.living()]
        assert len(labels) == len(set(labels))
        assert len(labels) <= (world.settings.max_resident or 4)
        assert sum(world.sizes[label] for label in labels) <= world.memory
        assert sum(place.phase is Phase.LOADING and not place.leaving for place in places) <= 1
        for worker in world.living():
            assert sum(ask.ask.kind == "generate" for ask in worker.asks) <= world.settings.n_seq

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Whoever has no end waits somewhere or is served, something is under way for it, and the counts say so."""
        world, places = self.world, self.world.steward.keeper.places.values()
        known = {request for place in places for request in (*place.line, *place.running)}
        assert all(client.end is not None or client.request in known for client in world.clients)
        assert world.gate.n_inside == len(known)
        assert world.gate.n_waiting == sum(len(place.line) for place in places) <= world.settings.max_waiting
        if world.gate.n_waiting:
            assert world.errands or self.asks() or world.timers.next() is not None

    @invariant()
    def nobody_waits_for_a_load_that_is_lost(self) -> None:
        for place in self.world.steward.keeper.places.values():
            assert not place.lost or (place.phase is Phase.LOADING and place.is_idle and place.refuses(self.world.time))

    @invariant()
    def nobody_makes_room_that_nobody_wants(self) -> None:
        keeper = self.world.steward.keeper
        wanted = keeper._n_clearing or any(p.phase is Phase.COLD and p.line for p in keeper.places.values())
        assert wanted or not any(place.may_stay for place in keeper.places.values())

    @invariant()
    def who_waits_is_told_where_before_how_far(self) -> None:
        for client in self.world.clients:
            kinds = [type(event) for event in client.told]
            assert Loading not in kinds or kinds.index(Loading) > kinds.index(Waiting)

    @invariant()
    def whoever_rests_has_a_time_and_nobody_else(self) -> None:
        for place in self.world.steward.keeper.places.values():
            rests = place.phase is Phase.RESIDENT and place.keep >= 0 and not place.pinned
            rests = rests or (place.phase is Phase.COLD and place.staged is not None)
            assert (place.timer is not None and place.timer.action is not None) == (rests and place.is_idle)

    def teardown(self) -> None:
        """All accidents are over: everybody gets an end, and everything is given back."""
        if not hasattr(self, "world"):
            return
        for load in self.world.loads:
            load.outcome = None
        self.world.finish_all()
        lost = [client for client in self.world.clients if not client.end]
        assert not lost, self.world.describe()
        assert (self.world.gate.n_inside, self.world.gate.n_waiting) == (0, 0)
        self.world.do(lambda: self.world.steward.stop(0))
        self.world.run_errands()
        assert self.world.steward.is_over
        assert self.world.living() == []
        assert all(copy.removed for copy in self.world.copies)
        assert len(self.world.timers) == 0 or self.world.timers.next() is not None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=2000 if LONG else 60, stateful_step_count=50 if LONG else 30)
