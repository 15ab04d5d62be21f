"""The desk: whoever comes and goes beside it, an answer is the one it would be alone; who fails, fails alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage._board import Board
from hoshikage._core import Session
from hoshikage.engine.answer import Answer
from hoshikage.engine.batch import SessionSize
from hoshikage.engine.desk import OVERTAKEN, SECONDS, STEPS, Desk, News, Pace
from hoshikage.engine.engine import Engine
from hoshikage.engine.result import Result
from hoshikage.engine.sizes import SHARES
from hoshikage.errors import Cancelled, DecodeError, MemoryExhausted
from hoshikage.settings import Settings
from tests.cases import PARALLEL
from tests.speaker import Speaker

SPARE = 10  # positions beside the longest, of a session that is none
BAN = -float("inf")
EVERYTHING = dict.fromkeys(range(260), BAN)
PROMPTS = ["", "a", "bcd", "hello there", "x" * 200]
OPTIONS = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 40) | st.just(80),
        "seed": st.integers(0, 99),
        "temperature": st.sampled_from([0.0, 1.5]),
    },
    optional={
        "early_stop": st.booleans(),
        "cfg_scale": st.just(1.0),
        "block_length": st.integers(1, 40),
        "plan": st.sampled_from(["prefix", "window", "dual", "vicinity"]),
        "algorithm": st.sampled_from(PARALLEL),
        "block_ends": st.just("adaptive"),
        "grow": st.booleans(),
    },
).filter(lambda options: not (options.get("grow") and options.get("algorithm") == "credit"))
COMERS = st.lists(
    st.tuples(
        st.integers(0, 12),  # the step at which it comes
        st.sampled_from(PROMPTS),
        OPTIONS,
        st.booleans(),  # watched
        st.none() | st.integers(0, 8),  # steps after which it leaves
    ),
    min_size=1,
    max_size=9,
)


def told(news: Sequence[News]) -> tuple[str, str, str]:
    result = last_result(news)
    return "".join(item.delta for item in news), result.text, result.stop_reason


def last_result(news: Sequence[News]) -> Result:
    assert [item.result is None for item in news] == [True] * (len(news) - 1) + [False]
    result = news[-1].result
    assert result is not None
    return result


def run_out(desk: Desk) -> list[News]:
    news, board = [], Board()
    while desk.busy:
        news += desk.step(board)
    return news


@pytest.mark.parametrize("share", [8, 256])
@given(COMERS, st.integers(1, 4), st.integers(0, 50))
def test_an_answer_is_the_one_it_is_alone(share: int, comers: list[Any], n_seq: int, salt: int) -> None:
    """However little room is kept for it at first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHARES, "masked", share)
        check_as_alone(comers, n_seq, salt)


def check_as_alone(comers: list[Any], n_seq: int, salt: int) -> None:
    engine = Engine(Speaker(salt=salt), Settings(n_seq=n_seq))
    desk, board = engine.desk(n_expected=n_seq), Board()
    heard: dict[int, list[News]] = {number: [] for number in range(len(comers))}
    step = 0
    while step <= 12 or desk.busy:
        for number, (at, prompt, options, watched, _) in enumerate(comers):
            if at == step:
                desk.join(engine.answer(number, engine.tokenize(prompt), options), watched=watched, owner=number)
        news = desk.step(board)
        for number, (at, *_, stay) in enumerate(comers):
            if stay is not None and at + stay == step and not is_over(heard[number], news, number):
                news += desk.leave(number)
        for item in news:
            heard[item.answer.index].append(item)
        step += 1
    for number, (_, prompt, options, watched, stay) in enumerate(comers):
        alone = Engine(Speaker(salt=salt)).generate(prompt, **options)
        text, whole, reason = told(heard[number])
        assert whole == alone.text or (stay is not None and reason == "cancelled" and alone.text.startswith(whole))
        assert whole.endswith(text)
        assert text == whole or not watched
        if stay is None:
            assert last_result(heard[number]).counts.n_passes == alone.counts.n_passes


def is_over(heard: list[News], news: list[News], number: int) -> bool:
    return any(item.result is not None for item in [*heard, *news] if item.answer.index == number)


def test_who_makes_a_pass_fail_fails_alone() -> None:
    engine = Engine(Speaker(salt=3), Settings(n_seq=4))
    desk = engine.desk()
    for number in range(4):
        bias = EVERYTHING if number == 2 else {}
        options = {"max_tokens": 9, "seed": number, "temperature": 1.0, "logit_bias": bias}
        desk.join(engine.answer(number, engine.tokenize("abc"), options))
    news = {item.answer.index: item for item in run_out(desk)}
    assert isinstance(news[2].error, DecodeError)
    for number in (0, 1, 3):
        alone = Engine(Speaker(salt=3)).generate("abc", max_tokens=9, seed=number, temperature=1.0)
        assert told([news[number]])[1:] == (alone.text, alone.stop_reason)


class Cancelling:
    """A session whose failed passes are cancelled ones."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def __contains__(self, work: Any) -> bool:
        return work in self.session

    def run(self, board: Board, max_steps: int) -> Any:
        try:
            return self.session.run(board, max_steps)
        except DecodeError:
            raise Cancelled from None


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
def test_who_needs_more_room_before_a_pass_failed_goes_on(
    cancelled: bool, leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for more in the first pass of a step whose second one is not made; or is sent away then."""
    monkeypatch.setitem(SHARES, "masked", 1)
    engine = Engine(Speaker(salt=3), Settings(n_seq=2))
    desk, board, prompt = engine.desk(n_expected=2), Board(), engine.tokenize("x" * 250)
    lazy = {"plan": "window", "block_length": 2, "window": 2, "max_tokens": 60, "seed": 1, "early_stop": False}
    whole = {"quality": "exact", "max_tokens": 30, "early_stop": False}
    for number, options in enumerate((lazy, whole)):
        desk.join(engine.answer(number, prompt, options), watched=True, owner=number)
    desk.step(board)
    first = desk._working[0].answer
    assert first.index == 0 and not first.paused
    desk._session.forward.passes_left = 1
    if cancelled:
        desk._session = Cancelling(desk._session)
        with pytest.raises(Cancelled):
            desk.step(board)
    else:
        desk.step(board)
    assert first.paused
    if leaves:
        assert [item.result.stop_reason for item in desk.leave(0) if item.result] == ["cancelled"]
    news = {item.answer.index: item for item in run_out(desk) if item.result}
    for number, options in [*enumerate((lazy, whole))][leaves:]:
        alone = Engine(Speaker(salt=3)).generate(prompt, **options)
        assert told([news[number]])[1:] == (alone.text, alone.stop_reason)
    assert engine.logits([[1, 2]]).shape[:2] == (1, 2), "nothing is left in the session"


def test_who_was_finished_before_a_pass_failed_has_an_answer() -> None:
    """Both are whole canvases, each in a pass of its own; the second pass of the second step fails, once."""
    engine = Engine(Speaker(salt=3), Settings(n_seq=2))
    desk, board, prompt = engine.desk(n_expected=2), Board(), engine.tokenize("x" * 200)
    for number, max_tokens in enumerate((2, 9)):
        desk.join(engine.answer(number, prompt, {"max_tokens": max_tokens, "quality": "exact", "early_stop": False}))
    assert desk.step(board) == []
    session = desk._session
    assert isinstance(session, Session) and session.n_passes == 2
    session.forward.passes_left = 1
    news = {item.answer.index: item for item in run_out(desk)}
    for number, max_tokens in enumerate((2, 9)):
        alone = Engine(Speaker(salt=3)).generate("x" * 200, max_tokens=max_tokens, quality="exact", early_stop=False)
        assert told([news[number]])[1:] == (alone.text, alone.stop_reason)


class Line:
    """A way to answer without a model: work of so many steps, and a session that holds what fits."""

    def __init__(self, n_cells: int = 10**9) -> None:
        self.n_cells = n_cells
        self.opened: list[SessionSize] = []
        self.inside: list[Any] = []
        self.came: list[Any] = []
        self.largest = 0

    def room(self, answers: Sequence[Answer], n_together: int) -> SessionSize:
        n_cells = max(answer.n_cells for answer in answers)
        return SessionSize(n_cells * n_together, n_together, n_together, n_cells)

    def open(self, room: SessionSize) -> Line:
        assert not self.inside, "who is at work loses the session"
        if room.n_cells > self.n_cells:
            raise MemoryExhausted("no memory")
        self.opened.append(room)
        return self

    def add(self, work: Any) -> None:
        work.paused = False
        self.inside.append(work)
        self.came.append(work)
        self.largest = max(self.largest, len(self.inside))

    def remove(self, work: Any) -> None:
        self.inside.remove(work)

    def __contains__(self, work: Any) -> bool:
        return work in self.inside

    def run(self, board: Board, max_steps: int) -> None:
        if board.cancelled:
            raise Cancelled
        for _ in range(max_steps):
            for work in list(self.inside):
                work.n_left -= 1
                if not work.done:
                    work.grow()
                if work.done or work.paused:
                    self.inside.remove(work)
            if not self.inside:
                return


class Work:
    """So many steps, in so many cells."""

    n_streams = 1
    ends_early = paused = False

    def __init__(self, n_left: int, n_cells: int = 1, n_rows: int = 1) -> None:
        self.n_left, self.n_cells, self.n_rows = n_left, n_cells, n_rows
        self.most_cells = n_cells
        self.work = self

    def grow(self) -> None:
        """It needs what it needed."""

    @property
    def done(self) -> bool:
        return self.n_left <= 0

    complete = done

    def read(self) -> str:
        return ""

    def ended(self, cancelled: bool = False) -> tuple[str, Any]:
        return "", "cancelled" if cancelled else "done"


class Growing(Work):
    """One that once comes to need twice the room."""

    has_grown = False

    @property
    def n_cells(self) -> int:
        return self._n_cells << self.has_grown

    @n_cells.setter
    def n_cells(self, n_cells: int) -> None:
        self._n_cells = n_cells

    def grow(self) -> None:
        self.paused, self.has_grown = not self.has_grown, True


def at_desk(desk: Desk, *works: Work, watched: bool = True) -> list[Any]:
    for work in works:
        desk.join(work, watched=watched)  # type: ignore[arg-type]  # all that a desk needs of an answer
    return list(works)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 10)), min_size=1, max_size=60), st.integers(1, 5))
def test_nobody_waits_for_ever(works: list[tuple[int, int]], n_seq: int) -> None:
    line = Line()
    desk = Desk(line, n_seq)
    joined = at_desk(desk, *(Work(*work) for work in works))
    ended = [id(item.answer) for item in run_out(desk) if item.result is not None]
    assert sorted(ended) == sorted(map(id, joined))
    came = [joined.index(work) for work in line.came]
    for i, number in enumerate(came):
        assert sum(later > number for later in came[:i]) <= OVERTAKEN


class Kept(Line):
    """One that keeps room for a short one beside the longest."""

    def room(self, answers: Sequence[Answer], n_together: int) -> SessionSize:
        room = super().room(answers, n_together)
        return replace(room, n_cells=room.n_longest + SPARE)


def test_who_is_larger_than_the_session_is_overtaken_so_often_and_no_more() -> None:
    """Nobody has room beside it: a larger session is opened when all are gone."""
    line = Line()
    desk = Desk(line, 2)
    at_desk(desk, Work(10**6, 5), Work(1, 5))
    desk.step(Board())
    large, *small = at_desk(desk, Work(1, 6), *(Work(1, 1) for _ in range(OVERTAKEN + 5)))
    for _ in range(3 * OVERTAKEN):
        desk.step(Board())
    assert [work.done for work in small] == [True] * OVERTAKEN + [False] * 5
    assert not large.done
    desk.leave()
    assert not desk.busy


def test_who_was_overtaken_so_often_is_passed_by_those_only_that_leave_it_its_room() -> None:
    """It waits for the one at work alone: short ones come and go meanwhile, and keep it waiting no longer."""
    desk = Desk(Kept(), 3)
    at_work, first = Work(10**6, 60), Work(1, 100)
    desk.join(at_work, owner="at work")  # type: ignore[arg-type]  # all that a desk needs of an answer
    at_desk(desk, first)
    half = at_desk(desk, *(Work(1, 50) for _ in range(OVERTAKEN + 5)))
    for _ in range(2 * OVERTAKEN):
        desk.step(Board())
    assert [work.done for work in half] == [True] * OVERTAKEN + [False] * 5
    for short in at_desk(desk, *(Work(1, SPARE) for _ in range(2 * OVERTAKEN))):
        assert not short.done
        desk.step(Board())
        assert short.done
    assert not first.done
    at_desk(desk, Work(10**6, SPARE))
    desk.step(Board())
    desk.leave("at work")
    desk.step(Board())
    assert first.done
    desk.step(Board())
    assert [work.done for work in half] == [True] * (OVERTAKEN + 2) + [False] * 3, "again as often as there is room"


STREAM = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 100), st.integers(0, 3)), min_size=1, max_size=12)


@given(STREAM, STREAM, st.integers(1, 4), st.booleans())
def test_nobody_waits_for_ever_whatever_comes_behind_it(
    there: list[Any], coming: list[Any], n_seq: int, grow: bool
) -> None:
    """Of however many owners, and if each comes to need twice the room that was kept for it."""
    line = Kept()
    desk = Desk(line, n_seq)
    kind = Growing if grow else Work
    for n_left, n_cells, owner in [*there, (1, 100, 0)]:
        desk.join(last := kind(n_left, n_cells), owner=owner)  # type: ignore[arg-type]  # see at_desk
    patience = 4 * 3 * OVERTAKEN * (len(there) + 1)
    for n_left, n_cells, owner in islice(cycle(coming), patience):
        if last in line.came:
            break
        desk.join(kind(n_left, n_cells), owner=owner)  # type: ignore[arg-type]  # see at_desk
        desk.step(Board())
    assert last in line.came
    desk.clear()


@given(st.lists(st.integers(56, 100), min_size=1, max_size=20), st.lists(st.integers(1, SPARE), max_size=60))
def test_short_ones_never_wait_for_the_end_of_a_long_one(long: list[int], short: list[int]) -> None:
    """Of which one is at work, and others wait."""
    desk = Desk(Kept(), 4)
    at_desk(desk, *(Work(10**6, n_cells) for n_cells in long))
    shorts = at_desk(desk, *(Work(2, n_cells) for n_cells in short))
    for _ in range(2 * len(shorts)):
        desk.step(Board())
    assert all(work.done for work in shorts)
    desk.clear()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5))
def test_owners_take_turns(owners: list[int], n_seq: int) -> None:
    line = Line()
    desk = Desk(line, n_seq)
    belongs = {}
    for owner in owners:
        work = Work(1)
        belongs[work] = owner
        desk.join(work, owner=owner)  # type: ignore[arg-type]  # all that a desk needs of an answer
    left = [owners.count(owner) for owner in range(4)]
    while desk.busy:
        n_came = len(line.came)
        desk.step(Board())
        let_in = [belongs[work] for work in line.came[n_came:]]
        # Nobody gets two places more than another who still waits for one.
        shares = [let_in.count(owner) for owner in range(4)]
        left = [n - share for n, share in zip(left, shares, strict=True)]
        waiting = [share for n, share in zip(left, shares, strict=True) if n]
        assert max(shares) - min(waiting, default=max(shares)) <= 1


def test_a_larger_session_is_opened_when_nobody_is_at_work() -> None:
    line = Line()
    desk = Desk(line, 4, n_expected=3)
    at_desk(desk, Work(3, 10))
    desk.step(Board())
    assert line.opened == [SessionSize(30, 3, 3, 10)]
    at_desk(desk, Work(2, 100), Work(1, 10))
    run_out(desk)
    assert line.opened == [SessionSize(30, 3, 3, 10), SessionSize(300, 3, 3, 100)]


def test_without_memory_for_all_there_is_a_session_for_one_and_without_that_it_fails_alone() -> None:
    line = Line(n_cells=100)
    desk = Desk(line, 8, n_expected=8)
    fits, too_large, fits_too = at_desk(desk, Work(1, 50), Work(1, 101), Work(1, 60))
    news = {id(item.answer): item for item in run_out(desk)}
    assert isinstance(news[id(too_large)].error, MemoryExhausted)
    assert (news[id(fits)].result, news[id(fits_too)].result) == ("done", "done")
    assert line.largest == 1


def test_no_room_for_one_that_is_due_leaves_no_trace_of_it() -> None:
    """Nobody waits for it, when it has failed."""
    line = Line(n_cells=100)
    desk = Desk(line, 2, n_expected=2)
    at_desk(desk, Work(2 * OVERTAKEN, 50))
    desk.step(Board())
    too_large, *small = at_desk(desk, Work(1, 101), *(Work(1, 50) for _ in range(3 * OVERTAKEN)))
    news = {id(item.answer): item for item in run_out(desk)}
    assert isinstance(news[id(too_large)].error, MemoryExhausted)
    assert all(work.done for work in small)


def test_without_memory_for_its_buffers_one_fails_alone() -> None:
    class Short(Line):
        def add(self, work: Any) -> None:
            if work.n_left == 7:
                raise MemoryError
            super().add(work)

    desk = Desk(Short(), 3)
    _, short, _ = at_desk(desk, Work(2), Work(7), Work(2))
    news = run_out(desk)
    assert [type(item.error) for item in news if item.error] == [MemoryExhausted]
    assert sum(item.result == "done" for item in news) == 2
    assert not short.done


def test_a_cancelled_step_loses_nothing() -> None:
    desk = Desk(Line(), 2)
    works = at_desk(desk, Work(2), Work(2), Work(2))
    board = Board()
    board.cancel()
    with pytest.raises(Cancelled):
        desk.step(board)
    board.reset()
    assert [item.answer for item in run_out(desk) if item.result] == works


def test_calls_take_about_as_long_as_they_should() -> None:
    pace = Pace()
    for _ in range(20):
        pace.took(SECONDS / 10)
    assert pace.n_steps == STEPS
    pace.took(SECONDS * 2)
    assert pace.n_steps == STEPS // 2
    for _ in range(20):
        pace.took(SECONDS * 2)
    assert pace.n_steps == 1


def test_the_gate_is_held_during_a_step_and_not_between_two() -> None:
    class Gate:
        held = 0
        taken = 0

        def __enter__(self) -> None:
            self.held += 1
            self.taken += 1

        def __exit__(self, *_: object) -> None:
            self.held -= 1

    gate = Gate()
    desk = Desk(Line(), 1, gate=gate)  # type: ignore[arg-type]  # it is entered and left
    at_desk(desk, Work(3))
    run_out(desk)
    assert (gate.held, gate.taken) == (0, 3)
