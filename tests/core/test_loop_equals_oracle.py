"""On the fake model the loop settles what the oracle settles: every token, in the same step, with as many passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage._core import Session
from hoshikage._fake import FakeModel
from tests.cases import ALGORITHMS, CACHING, PARALLEL, SCHEDULES, Case, batches, cases
from tests.engine import assert_same, make_canvas, result_of, run_all
from tests.tally import Tally

N_THREADS = st.integers(1, 4)


def open_session(case: Case, n_threads: int, n_canvases: int = 1) -> Session:
    model = FakeModel(case.n_vocab, salt=case.salt)
    return Session(model, n_ctx=2048, n_seq=2 * n_canvases, n_rows=512, n_threads=n_threads)


@pytest.mark.parametrize("schedule", (*SCHEDULES, "denoising"))
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_alone(algorithm: str, schedule: str) -> None:
    tally = Tally()

    @settings(max_examples=60)
    @given(cases(algorithms=(algorithm,), schedule=schedule), N_THREADS)
    def check(case: Case, n_threads: int) -> None:
        canvas = make_canvas(case.tokens, case.mask_id, **case.options)
        with open_session(case, n_threads) as session:
            run_all(session, [canvas])
        assert canvas.done
        tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


@pytest.mark.parametrize("plan", CACHING)
def test_plans(plan: str) -> None:
    """What a plan leaves to the cache is as old as the oracle has it, and its passes compute as many positions."""
    tally = Tally()

    @settings(max_examples=200)
    @given(cases(plan_names=(plan,)), N_THREADS)
    def check(case: Case, n_threads: int) -> None:
        canvas = make_canvas(case.tokens, case.mask_id, **case.options)
        with open_session(case, n_threads) as session:
            run_all(session, [canvas])
        tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


@pytest.mark.parametrize("algorithm", PARALLEL)
def test_rules_that_settle_several(algorithm: str) -> None:
    """With every schedule, whole canvases and cached ones."""
    tally = Tally()

    @settings(max_examples=200)
    @given(st.data(), st.sampled_from((*SCHEDULES, "adaptive", "adaptive")), N_THREADS)
    def check(data: st.DataObject, schedule: str, n_threads: int) -> None:
        case = data.draw(cases(algorithms=(algorithm,), schedule=schedule, plan_names=("full", *CACHING)))
        canvas = make_canvas(case.tokens, case.mask_id, **case.options)
        with open_session(case, n_threads) as session:
            run_all(session, [canvas])
        tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


def test_blocks_that_end_with_a_delimiter() -> None:
    tally = Tally()

    @settings(max_examples=200)
    @given(st.data(), st.sampled_from((*ALGORITHMS, *PARALLEL)), st.sampled_from((*SCHEDULES, "denoising", "adaptive")))
    def check(data: st.DataObject, algorithm: str, schedule: str) -> None:
        drawn = data.draw(cases(algorithms=(algorithm,), schedule=schedule, plan_names=("full", *CACHING)))
        # Few tokens, so that delimiters are proposed often.
        ends = data.draw(st.lists(st.integers(0, drawn.n_vocab - 1), min_size=1, max_size=5, unique=True))
        options = {"delimiters": tuple(ends), "block_length": data.draw(st.integers(1, 8))}
        options["end_threshold"] = data.draw(st.sampled_from([0.0, 0.0, 0.1, 0.9]))
        case = replace(drawn, options=drawn.options | options)
        canvas = make_canvas(case.tokens, case.mask_id, **case.options)
        with open_session(case, 2) as session:
            run_all(session, [canvas])
        tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


@pytest.mark.parametrize("algorithms", [ALGORITHMS, PARALLEL], ids=["scheduled", "parallel"])
def test_batched(algorithms: tuple[str, ...]) -> None:
    tally = Tally()

    @settings(max_examples=100)
    @given(batches(algorithms=algorithms, plan_names=("full", *CACHING)), N_THREADS)
    def check(batch: list[Case], n_threads: int) -> None:
        canvases = [make_canvas(case.tokens, case.mask_id, **case.options) for case in batch]
        with open_session(batch[0], n_threads, len(batch)) as session:
            run_all(session, canvases)
        for case, canvas in zip(batch, canvases, strict=True):
            tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


@pytest.mark.parametrize("algorithms", [ALGORITHMS, PARALLEL], ids=["scheduled", "parallel"])
def test_joining_and_leaving_between_steps(algorithms: tuple[str, ...]) -> None:
    """Canvases that come one step after the other, and one that is thrown out half-way, do not disturb the rest."""
    tally = Tally()

    @settings(max_examples=60)
    @given(batches(algorithms=algorithms, plan_names=("full", *CACHING)), N_THREADS, st.integers(1, 4))
    def check(batch: list[Case], n_threads: int, patience: int) -> None:
        canvases = [make_canvas(case.tokens, case.mask_id, **case.options) for case in batch]
        with open_session(batch[0], n_threads, len(batch)) as session:
            for canvas in canvases:
                session.add(canvas)
                session.step()
            if canvases[0] in session.canvases and canvases[0].step < patience:
                session.remove(canvases[0])
            while session.canvases:
                session.run()
        for case, canvas in zip(batch, canvases, strict=True):
            if canvas.done:
                tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


@given(cases(), st.integers(1, 3))
def test_stopping_and_going_on_changes_nothing(case: Case, stride: int) -> None:
    whole, pieces = (make_canvas(case.tokens, case.mask_id, **case.options) for _ in range(2))
    with open_session(case, 1) as session:
        run_all(session, [whole])
        session.add(pieces)
        while session.canvases:
            session.run(max_steps=stride)
    assert_same(result_of(pieces), result_of(whole))


@settings(max_examples=30)
@given(cases(max_length=60), st.integers(2, 4))
def test_threads_change_nothing(case: Case, n_threads: int) -> None:
    """To the last bit, near-ties included: rows are independent and the noise belongs to positions."""
    one, more = (make_canvas(case.tokens, case.mask_id, **case.options) for _ in range(2))
    for canvas, count in ((one, 1), (more, n_threads)):
        with open_session(case, count) as session:
            run_all(session, [canvas])
    assert_same(result_of(more), result_of(one))
    assert more.confidence == one.confidence
