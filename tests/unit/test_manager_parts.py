"""The manager's parts without a thread: timers, the outlet, the line, the gate, and who has to leave."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.errors import QueueFullError, Stopping
from hoshikage.manager.outlet import Outlet
from hoshikage.manager.queue import Gate, Line
from hoshikage.manager.residency import Come, Go, Holder, House, MakeDo, Refuse, Wait, Want, decide
from hoshikage.manager.timers import KEPT_DEAD, Timers
from hoshikage.worker.ask import Done, Event, Failed, Waiting

# -- timers


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())), st.lists(st.integers(0, 25)))
def test_timers_do_what_is_due_in_order_and_nothing_that_was_called_off(
    wanted: list[tuple[int, bool]], looks: list[int]
) -> None:
    timers, done = Timers(), list[int]()
    asked = [timers.at(when, lambda i=i: done.append(i)) for i, (when, _) in enumerate(wanted)]
    for timer, (_, called_off) in zip(asked, wanted, strict=True):
        if called_off:
            timers.cancel(timer)
    left = [(when, i) for i, (when, called_off) in enumerate(wanted) if not called_off]
    assert len(timers) == len(left)
    assert timers.next() == min((when for when, _ in left), default=None)
    for now in sorted(looks):
        for action in timers.due(now):
            action()
        assert done == [i for when, i in sorted(left) if when <= now]


def test_timers_that_are_called_off_take_no_memory() -> None:
    timers = Timers()
    kept = timers.at(1e9, lambda: None)
    for _ in range(10_000):
        timers.cancel(timers.at(1.0, lambda: None))
    assert len(timers._heap) <= 2 * KEPT_DEAD + 2
    assert timers.next() == kept.when


def test_an_action_may_ask_for_another_and_call_one_off() -> None:
    timers, done = Timers(), list[str]()
    late = timers.at(2, lambda: done.append("late"))
    timers.at(1, lambda: (done.append("first"), timers.cancel(late), timers.at(2, lambda: done.append("new"))))
    for action in timers.due(3):
        action()
    assert done == ["first", "new"]
    timers.cancel(late)
    assert timers.next() is None


# -- the outlet


def test_events_come_in_order_and_nothing_after_the_last() -> None:
    told: list[Event] = []
    outlet = Outlet(told.append, lambda: None)
    events: list[Event] = [Waiting(n_ahead=1), Waiting(n_ahead=0), Done(), Waiting(n_ahead=5), Failed(error=Stopping())]
    for event in events:
        outlet.put(event)
    assert told == events[:3]
    assert outlet.ended


def test_who_puts_never_waits_for_a_slow_listener_and_nothing_is_lost_or_told_twice() -> None:
    told, inside, go_on = list[int](), threading.Event(), threading.Event()

    def tell(event: Event) -> None:
        assert isinstance(event, Waiting)
        told.append(event.n_ahead)
        inside.set()
        assert go_on.wait(60)

    outlet = Outlet(tell, lambda: None)
    slow = threading.Thread(target=lambda: outlet.put(Waiting(n_ahead=0)))
    slow.start()
    assert inside.wait(60)
    for n in range(1, 100):
        outlet.put(Waiting(n_ahead=n))  # would hang here if it waited
    assert told == [0]
    go_on.set()
    slow.join()
    assert told == list(range(100))


def test_many_threads_are_told_one_at_a_time() -> None:
    told, n_inside = list[tuple[int, int]](), [0]

    def tell(event: Event) -> None:
        assert isinstance(event, Waiting)
        n_inside[0] += 1
        assert n_inside[0] == 1
        told.append(divmod(event.n_ahead, 1000))
        n_inside[0] -= 1

    outlet = Outlet(tell, lambda: pytest.fail("the listener raised"))
    threads = [
        threading.Thread(target=lambda t=t: [outlet.put(Waiting(n_ahead=1000 * t + i)) for i in range(500)])
        for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for t in range(4):
        assert [i for thread, i in told if thread == t] == list(range(500))


def test_an_event_that_comes_between_the_last_word_and_the_lock_is_told() -> None:
    told: list[Event] = []
    outlet = Outlet(told.append, lambda: None)

    class Slow:
        """A lock that somebody finds still held, when all has been told."""

        lock, late = threading.Lock(), [Done()]
        acquire = lock.acquire

        def release(self) -> None:
            if self.late:
                outlet.put(self.late.pop())
            self.lock.release()

    outlet._telling = Slow()  # type: ignore[assignment]
    outlet.put(Waiting(n_ahead=0))
    assert told == [Waiting(n_ahead=0), Done()]


def test_a_listener_that_raises_hears_no_more_and_is_reported_once() -> None:
    calls, broken = [0], [0]

    def tell(_: Event) -> None:
        calls[0] += 1
        raise ValueError("my own mistake")

    outlet = Outlet(tell, lambda: broken.__setitem__(0, broken[0] + 1))
    for _ in range(3):
        outlet.put(Waiting(n_ahead=0))
    assert (calls, broken) == ([1], [1])


# -- the line


@dataclass(frozen=True)
class Person:
    key: str
    number: int


KEYS = st.sampled_from("abc")
MOVES = st.lists(st.one_of(st.tuples(st.just("add"), KEYS), st.just(("pop", "")), st.tuples(st.just("leave"), KEYS)))


@given(MOVES)
def test_the_line_is_fair(moves: list[tuple[str, str]]) -> None:
    """Against a model: a list of those who stand in it, and the order of keys."""
    line, standing, turns, number = Line[Person](), list[Person](), deque[str](), 0
    for move, key in moves:
        if move == "add":
            person, number = Person(key, number), number + 1
            line.add(person)
            standing.append(person)
            if key not in turns:
                turns.append(key)
        elif move == "pop" and standing:
            key = turns.popleft()
            expected = next(person for person in standing if person.key == key)
            assert line.pop() == expected
            standing.remove(expected)
            if any(person.key == key for person in standing):
                turns.append(key)
        elif move == "leave":
            gone = next((person for person in standing if person.key == key), Person(key, -1))
            assert line.remove(gone) == (gone in standing)
            if gone in standing:
                standing.remove(gone)
                if not any(person.key == key for person in standing):
                    turns.remove(key)
        assert len(line) == len(standing) == len(list(line))
        assert line.first() == min(standing, key=lambda person: person.number, default=None)


def begun_line(keys: list[str], data: st.DataObject) -> Line[Person]:
    """A line of these, some of whom have been served; somebody is left."""
    line = Line[Person]()
    for number, key in enumerate(keys):
        line.add(Person(key, number))
    for _ in range(data.draw(st.integers(0, len(keys) - 1))):
        line.pop()
    return line


@given(st.lists(KEYS, min_size=1), st.data())
def test_a_line_is_served_in_the_order_in_which_it_is_shown(keys: list[str], data: st.DataObject) -> None:
    line = begun_line(keys, data)
    shown = list(line)
    assert [line.pop() for _ in range(len(line))] == shown


@given(st.lists(KEYS, min_size=1), st.data())
def test_the_last_of_a_key_is_told_how_many_are_ahead(keys: list[str], data: st.DataObject) -> None:
    line = begun_line(keys, data)
    shown = list(line)
    for key in {person.key for person in shown}:
        last = max(at for at, person in enumerate(shown) if person.key == key)
        assert line.n_ahead_of_last(key) == last


def test_fifty_of_one_key_do_not_delay_another() -> None:
    line = Line[Person]()
    for number in range(50):
        line.add(Person("many", number))
    line.add(Person("one", 50))
    assert [line.pop().key for _ in range(3)] == ["many", "one", "many"]


def test_who_is_put_back_is_next() -> None:
    line = Line[Person]()
    for number, key in enumerate("aab"):
        line.add(Person(key, number))
    first = line.pop()
    line.put_back(first)
    assert [line.pop().number for _ in range(3)] == [0, 2, 1]


# -- the gate


def test_the_gate_has_a_limit_and_says_when_to_come_back() -> None:
    gate = Gate(3)
    for _ in range(3):
        gate.enter("key")
    with pytest.raises(QueueFullError) as caught:
        gate.enter("key")
    assert caught.value.n_waiting == 3
    assert 1 <= caught.value.retry_after <= 60
    gate.called(0.5)
    gate.enter("other")
    assert (gate.n_inside, gate.n_waiting, gate.n_refused) == (4, 3, 1)


def test_a_key_has_a_limit_of_its_own() -> None:
    gate = Gate(100, 2)
    gate.enter("a")
    gate.enter("a")
    gate.called()  # it is being served, and still counts
    with pytest.raises(QueueFullError):
        gate.enter("a")
    gate.enter("b")
    gate.ended("a")
    gate.enter("a")


def test_a_closed_gate_lets_nobody_in() -> None:
    gate = Gate(1)
    gate.closed = True
    with pytest.raises(Stopping):
        gate.enter("")


def test_the_pace_decides_when_to_come_back() -> None:
    slow, fast = Gate(100), Gate(100)
    for gate, seconds in ((slow, 30.0), (fast, 0.001)):
        for _ in range(100):
            gate.enter("")
            gate.called(seconds)
            gate.enter("")
        with pytest.raises(QueueFullError) as caught:
            gate.enter("")
        assert caught.value.retry_after == (60 if gate is slow else 1)


# -- who has to leave

HOLDERS = st.lists(
    st.builds(
        Holder,
        label=st.uuids().map(str),
        used_at=st.floats(0, 100),
        since=st.floats(0, 100),
        n_bytes=st.integers(0, 50),
        busy=st.booleans(),
        loading=st.booleans(),
        leaving=st.booleans(),
        asked=st.booleans(),
        pinned=st.booleans(),
    ),
    max_size=6,
)
WANTS = st.builds(Want, since=st.floats(0, 100), n_bytes_short=st.integers(0, 150))


@given(WANTS, HOLDERS, st.integers(0, 4), st.floats(0, 120))
def test_the_laws_of_leaving(want: Want, holders: list[Holder], n_max: int, now: float) -> None:
    house = House(n_max=n_max, turn=10.0)
    decision = decide(want, holders, house, now)
    by_label = {holder.label: holder for holder in holders}
    match decision:
        case Come():
            assert not n_max or len(holders) < n_max
            assert want.n_bytes_short == 0
            assert not any(holder.loading and not holder.leaving for holder in holders)
        case Go(labels):
            assert labels
            for label in labels:
                holder = by_label[label]
                assert not holder.leaving
                assert holder.loading or holder.asked or not holder.pinned
                assert not holder.busy or holder.asked or now - max(holder.since, want.since) >= house.turn
        case Wait(until):
            assert until == math.inf or now < until <= max((h.since for h in holders), default=0) + 110
            assert until < math.inf or any(holder.leaving or holder.loading for holder in holders)
        case Refuse():
            assert all(holder.pinned for holder in holders)
            assert len(holders) >= n_max > 0
        case MakeDo():
            assert all(holder.pinned for holder in holders)
            assert not n_max or len(holders) < n_max
            assert want.n_bytes_short > 0


@given(WANTS, HOLDERS, st.integers(0, 4))
def test_whoever_waits_comes_in_the_end(want: Want, holders: list[Holder], n_max: int) -> None:
    """Nobody finishes by himself, yet every model but the pinned ones has left before long."""
    house, now = House(n_max=n_max, turn=10.0), 100.0
    for _ in range(20):
        match decide(want, holders, house, now):
            case Come() | MakeDo() | Refuse():
                return
            case Go(labels):
                left = [holder for holder in holders if holder.label not in labels and not holder.leaving]
            case Wait(until):
                left = [holder for holder in holders if not holder.leaving]
                # A load that others wait for ends, and then they are served.
                left = [Holder(label=h.label, used_at=h.used_at, since=h.since, n_bytes=h.n_bytes, busy=h.busy,
                               pinned=h.pinned) for h in left]  # fmt: skip
                now = until if until < math.inf else now
        freed = sum(holder.n_bytes for holder in holders) - sum(holder.n_bytes for holder in left)
        want = Want(since=want.since, n_bytes_short=max(0, want.n_bytes_short - freed))
        holders = left
    pytest.fail("nothing was decided in twenty steps")


def holder(label: str, **options: float | bool) -> Holder:
    return Holder(**{"label": label, "used_at": 0.0, "since": 0.0, **options})


def test_the_least_recently_used_idle_one_goes() -> None:
    holders = [holder("busy", busy=True), holder("late", used_at=5.0), holder("early", used_at=1.0)]
    assert decide(Want(since=0.0), holders, House(n_max=3), 50.0) == Go(("early",))


def test_no_more_go_than_needed() -> None:
    holders = [holder("a", used_at=1.0, n_bytes=10), holder("b", used_at=2.0, n_bytes=10), holder("c", used_at=3.0)]
    assert decide(Want(since=0.0, n_bytes_short=15), holders, House(), 50.0) == Go(("a", "b"))
    assert decide(Want(since=0.0, n_bytes_short=10), holders, House(), 50.0) == Go(("a",))


def test_a_busy_one_goes_when_its_turn_is_over() -> None:
    holders = [holder("a", busy=True, since=20.0)]
    house = House(n_max=1, turn=10.0)
    assert decide(Want(since=0.0), holders, house, 29.0) == Wait(30.0)
    assert decide(Want(since=25.0), holders, house, 30.0) == Wait(35.0)
    assert decide(Want(since=25.0), holders, house, 35.0) == Go(("a",))


def test_idle_ones_stay_while_a_busy_one_has_to_be_waited_for() -> None:
    holders = [holder("a", n_bytes=10), holder("b", n_bytes=10, busy=True)]
    assert decide(Want(since=0.0, n_bytes_short=15), holders, House(), 50.0) == Go(("b",))
    assert decide(Want(since=0.0, n_bytes_short=5), holders, House(), 50.0) == Go(("a",))


def test_who_was_asked_to_make_room_has_no_second_turn() -> None:
    holders = [holder("a", busy=True, asked=True), holder("b", busy=True)]
    assert decide(Want(since=25.0), holders, House(n_max=2), 30.0) == Go(("a",))
    assert decide(Want(since=25.0), holders, House(n_max=3), 30.0) == Come()


def test_a_load_that_nobody_waits_for_makes_room() -> None:
    assert decide(Want(since=0.0), [holder("a", loading=True)], House(), 1.0) == Go(("a",))
    assert decide(Want(since=0.0), [holder("a", loading=True, busy=True)], House(), 1.0) == Wait()


@pytest.mark.parametrize("busy", [True, False])
def test_who_was_asked_to_make_room_is_asked_still_while_another_loads(busy: bool) -> None:
    holders = [holder("a", busy=True, asked=True), holder("b", loading=True, busy=busy)]
    assert decide(Want(since=0.0), holders, House(), 1.0) == Go(("a",) if busy else ("a", "b"))


def test_pinned_ones_refuse() -> None:
    assert decide(Want(since=0.0), [holder("a", pinned=True)], House(n_max=1), 99.0) == Refuse()
    assert decide(Want(since=0.0), [holder("a", pinned=True, leaving=True)], House(n_max=1), 99.0) == Wait()
