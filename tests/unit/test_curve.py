"""What a pass costs: measured until it is certain, kept from then on, and given up when somebody cancels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage._board import Board
from hoshikage.engine import curve, findings
from hoshikage.engine.curve import ALIKE, LONGEST, MOST_ROUNDS, NEAR, SHORT, USUAL_ROUNDS, Times, measured, one_round
from hoshikage.engine.engine import Engine
from hoshikage.engine.quality import CURVE_ROWS, Curve, Shape, chosen_way
from hoshikage.errors import Cancelled, ParameterError
from hoshikage.settings import Settings
from tests.speaker import Speaker

SECONDS = st.lists(st.floats(1e-4, 10.0), min_size=len(CURVE_ROWS), max_size=len(CURVE_ROWS))
REAL = (0.00070, 0.00083, 0.00125, 0.00241, 0.00443, 0.00842)  # nano-dream's passes
SPOILED = (0.00091, 0.00091, 0.00129, 0.00584, 0.00860, 0.01294)  # the same in one round beside another program


def certain(seconds: Any) -> Times:
    return Times({n: (one,) * ALIKE for n, one in zip(CURVE_ROWS, seconds, strict=True)})


# -- between the sizes that are measured


@given(SECONDS.map(sorted), st.integers(1, 10_000), st.integers(0, 500))
def test_more_rows_never_cost_less_where_none_of_those_measured_did(
    seconds: list[float], n_rows: int, more: int
) -> None:
    costs = Curve(CURVE_ROWS, seconds)
    assert costs(n_rows) <= costs(n_rows + more) * (1 + 1e-12)


@given(SECONDS, st.integers(1, 10_000))
def test_a_measured_size_costs_what_was_measured_and_no_size_costs_nothing(seconds: list[float], n_rows: int) -> None:
    costs = Curve(CURVE_ROWS, seconds)
    assert [costs(n) for n in CURVE_ROWS] == seconds
    assert costs(n_rows) > 0


def test_a_size_that_another_kernel_makes_cheaper_is_alone_in_that() -> None:
    """nano-llada with flash attention on AVX-512: 64 rows take half as long as 32. What has fewer rows than 64 goes on
    costing more, and is not priced at the 64's."""
    costs = Curve(CURVE_ROWS, (0.5, 1.3, 2.4, 8.87, 4.04, 8.1))
    assert costs(32) == 8.87
    assert costs(64) == 4.04
    assert costs(48) > costs(33) > 8.87
    assert costs(96) == pytest.approx((4.04 + 8.1) / 2)
    falling = Curve(CURVE_ROWS, (1.0, 1.0, 1.0, 1.0, 6.0, 3.0))
    assert falling(256) == pytest.approx(6.0), "in proportion, where nothing says more"
    default = chosen_way("balanced", Shape(256, 8), lambda: costs, True, lambda: True)
    assert (default.plan, default.block_length) == ("window", 32)


# -- rounds


class Machine:
    """A session on a machine whose passes take what `seconds_of` says of their number of rows and of the round."""

    def __init__(self, seconds_of: Callable[[int, int], float]) -> None:
        self.seconds_of = seconds_of
        self.now, self.n_rounds = 0.0, 0

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pass_by_hand(self, ids: Any, lo: int, hi: int, end: int, *, last: int, board: Board | None) -> None:
        assert len(ids) >= hi == end
        assert 1 <= last <= min(hi - lo, 32)
        if board is not None and board.cancelled:
            raise Cancelled
        self.n_rounds += lo == 0
        self.now += self.seconds_of(hi - lo, self.n_rounds)

    def measured(self, times: Times | None = None) -> Times:
        *_, last = measured(lambda: one_round(self, 100), times or Times())
        return last


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], float]], Machine]:
    def made(seconds_of: Callable[[int, int], float]) -> Machine:
        new = Machine(seconds_of)
        monkeypatch.setattr(curve.time, "perf_counter", lambda: new.now)
        return new

    return made


def test_a_quick_machine_takes_so_many_rounds_and_no_more(machine: Any) -> None:
    quick = machine(lambda n_rows, _: n_rows / 1e6)
    times = quick.measured()
    assert times.certain
    assert times.curve.seconds == pytest.approx([n / 1e6 for n in CURVE_ROWS])
    assert quick.n_rounds == USUAL_ROUNDS
    slower = machine(lambda n_rows, _: n_rows / 1000)
    assert slower.measured().certain
    assert slower.n_rounds == ALIKE
    assert slower.now > SHORT


def test_what_the_first_pass_of_a_size_pays_for_is_not_counted(machine: Any) -> None:
    """Buffers, a graph and on a GPU kernels, which a request's passes find there. What takes long is not done again."""
    for seconds, is_repeated in ((1e-6, True), (1e-1, False)):
        seen: list[tuple[int, int]] = []

        def cold(n_rows: int, n_round: int, seconds: float = seconds, seen: Any = seen) -> float:
            seen.append((n_rows, n_round))
            return seconds * n_rows * (10 if seen.count((n_rows, n_round)) == 1 else 1)

        times = machine(cold).measured()
        factor = 1 if is_repeated else 10
        new = slice(1, -1)  # sizes that have not filled the session's cache before
        assert times.curve.seconds[new] == pytest.approx([factor * seconds * n for n in CURVE_ROWS[new]])


def test_a_size_that_was_disturbed_is_measured_until_it_is_certain(machine: Any) -> None:
    """Each pass of the first rounds takes longer by another factor: the quickest is the one to believe, when it was not
    the only one of its kind."""
    busy = machine(lambda n_rows, n_round: n_rows / 1e5 * (1 + (n_round * n_rows) % 3 if n_round < 6 else 1))
    times = busy.measured()
    assert times.certain
    assert times.curve.seconds == pytest.approx([n / 1e5 for n in CURVE_ROWS])
    assert busy.n_rounds > ALIKE


def test_one_quick_round_among_others_is_not_certain(machine: Any) -> None:
    restless = machine(lambda n_rows, n_round: n_rows / 4e5 * (1 + NEAR * n_round))
    assert not restless.measured().certain
    assert restless.n_rounds == MOST_ROUNDS


def test_a_slow_machine_goes_on_with_the_next_load(machine: Any) -> None:
    """8 B on a few old cores: as many rounds as are bearable; the next load adds to them."""
    slow = machine(lambda n_rows, _: n_rows / 10)
    first = slow.measured()
    assert (slow.n_rounds, first.n_rounds, first.certain) == (1, 1, False)
    assert slow.now <= LONGEST
    second = slow.measured(first)
    assert not second.certain
    assert slow.measured(second).certain
    assert slow.n_rounds == ALIKE


def test_what_was_spoiled_in_one_round_is_forgotten(machine: Any) -> None:
    spoiled = Times() + SPOILED
    assert not spoiled.certain
    real = dict(zip(CURVE_ROWS, REAL, strict=True))
    times = machine(lambda n_rows, _: real[n_rows]).measured(spoiled)
    assert times.certain
    assert times.curve.seconds == pytest.approx(REAL)


# -- kept


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"1": [1]}', '{"a": [2]}', "nonsense", "null", '{"1": ["x"]}'),
        *(json.dumps(dict.fromkeys(CURVE_ROWS, bad)) for bad in (1.0, [], [2, 1], [0.0], [1e9], [1] * 9, ["x"])),
    ],
)
def test_a_damaged_curve_is_none(content: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.json"
    path.write_text(content)
    assert curve.stored(path) is None
    assert curve.stored(tmp_path / "nowhere.json") is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    curve.store(tmp_path / "file" / "curve.json", certain(REAL))
    curve.store(tmp_path / "folder" / "curve.json", certain(REAL))
    assert curve.stored(tmp_path / "folder" / "curve.json") == certain(REAL)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["curve.json"]


def test_a_curve_has_its_place_where_nothing_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with a read-only root."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: pytest.fail("there is none"))
    assert curve.place_of(Speaker(), Settings(), {"HOME": "/home/hoshikage"}).is_relative_to("/home/hoshikage/.cache")


def test_each_setting_has_a_curve_of_its_own() -> None:
    places = {curve.place_of(Speaker(), Settings(n_threads=n), {"HOME": "/home/hoshikage"}) for n in (1, 2)}
    assert len(places) == 2


# -- on an engine


@pytest.fixture
def rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the next rounds measure, in place of what they would; one that is an exception is raised."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    waiting: list[Any] = []

    def next_round(session: Any, n_vocab: int, board: Board | None) -> Any:
        one_round(session, n_vocab, board)
        outcome = waiting.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(curve, "one_round", next_round)
    monkeypatch.setattr(curve, "USUAL_ROUNDS", 1)
    monkeypatch.setattr(curve, "MOST_ROUNDS", ALIKE)
    return waiting


def kept_by(engine: Engine) -> Times | None:
    return curve.stored(curve.place_of(engine.model, engine.settings))


def test_a_certain_curve_is_measured_once_and_kept(rounds: list[Any]) -> None:
    rounds += [REAL] * ALIKE
    for _ in range(2):
        with Engine(Speaker(salt=3)) as engine:
            engine.generate("a", max_tokens=40, quality="exact")
            assert (kept_by(engine) is None) == (len(rounds) == ALIKE)
            engine.generate("a", max_tokens=40, quality="balanced")
            assert kept_by(engine) == certain(REAL)
            assert not rounds


def test_a_disturbed_curve_is_measured_further_at_the_next_load(
    rounds: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    slow = [10 * one for one in REAL]
    for before, is_certain in (([REAL, slow, slow], False), ([REAL, REAL], True)):
        rounds += before
        caplog.clear()
        with Engine(Speaker(salt=3)) as engine:
            engine.get_ready()
            engine.generate("a", max_tokens=40)  # for as long as it is loaded, that is its curve
            kept = kept_by(engine)
        assert kept is not None
        assert kept.certain == is_certain
        assert any("not certain" in record.message for record in caplog.records) != is_certain


def test_a_measurement_that_takes_long_is_said(caplog: pytest.LogCaptureFixture) -> None:
    findings.tell_of_wait(Times() + REAL)
    assert not caplog.records
    findings.tell_of_wait(Times() + [1000 * one for one in REAL])
    assert "about 36 s" in caplog.text


def test_who_cancels_before_there_is_a_curve_gets_an_answer_and_the_next_has_it_measured(rounds: list[Any]) -> None:
    rounds += [REAL, Cancelled(), REAL, REAL]
    board = Board()
    board.cancel()
    with Engine(Speaker(salt=3)) as engine:
        cancelled = engine.generate("a", max_tokens=40, board=board)
        assert (cancelled.stop_reason, cancelled.counts.n_passes) == ("cancelled", 0)
        dual = engine.generate("a", max_tokens=40, plan="dual", strict=True, board=board)
        assert dual.stop_reason == "cancelled", "a proof that was cancelled proves nothing"
        assert len(rounds) == 4
        assert kept_by(engine) is None
        with pytest.raises(Cancelled):
            engine.get_ready(board)
        with pytest.raises(Cancelled):
            engine.get_ready(Board())
        assert kept_by(engine) == Times() + REAL, "what was measured before is kept"
        assert engine.generate("a", max_tokens=40).stop_reason != "cancelled"
        assert kept_by(engine) == certain(REAL)
        assert not rounds


def test_others_passes_come_between_the_rounds(rounds: list[Any]) -> None:
    """Whoever computes does one round, and may do something else before the next."""
    rounds += [REAL] * ALIKE
    with Engine(Speaker(salt=3)) as engine:
        left = []

        def does(work: Callable[[], Any]) -> Any:
            left.append(len(rounds))
            return work()

        engine.compute_by(does)
        engine.get_ready()
        assert left == [ALIKE, *range(ALIKE, 0, -1)]  # the proof, and each round


def test_a_model_without_a_cache_has_nothing_to_be_measured(rounds: list[Any]) -> None:
    model = Speaker(salt=3)
    model.native = True
    with Engine(model) as engine:
        engine.get_ready()
        assert engine.generate("a", max_tokens=8).warnings == ()
        with pytest.raises(ParameterError, match="without a cache"):
            engine.generate("a", max_tokens=8, plan="window", strict=True)
    assert not rounds
