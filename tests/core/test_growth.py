"""Canvases that change their length: the loop settles what the oracle settles, and every canvas comes to its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage._core import Session
from hoshikage._fake import FakeModel
from hoshikage.errors import ContextOverflowError, ParameterError
from hoshikage.strategies import make_gaps, make_growth
from tests.cases import ALGORITHMS, CACHING, PARALLEL, SCHEDULES, Case, cases
from tests.core.test_loop_equals_oracle import open_session
from tests.engine import make_canvas, result_of, run_all
from tests.tally import Tally

ANY = (*ALGORITHMS, *(name for name in PARALLEL if name != "credit"))  # which counts by place, and places move


@st.composite
def templates(draw: st.DrawFn, token: st.SearchStrategy[int], mask_id: int) -> tuple[list[int], list[Any]]:
    """Fixed texts and gaps between them: the tokens at the start, and (lo, hi, least, most) of each gap."""
    tokens = draw(st.lists(token, max_size=4))
    gaps = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 4))
        gaps.append((len(tokens), len(tokens) + n, draw(st.integers(0, n)), n + draw(st.integers(0, 6))))
        tokens = [*tokens, *[mask_id] * n, *draw(st.lists(token, min_size=1, max_size=3))]
    return (tokens[: gaps[-1][1]], gaps) if draw(st.booleans()) else (tokens, gaps)


@st.composite
def elastic_cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """As other cases, with gaps, and a liking for more and for less."""
    drawn = draw(cases(algorithms=ANY, n_vocab=draw(st.integers(6, 20)), plan_names=("full", *CACHING), **fixed))
    free = [t for t in range(drawn.n_vocab) if t not in (drawn.mask_id, drawn.options["eos_id"])]
    expand_id = draw(st.sampled_from(free))
    tokens, gaps = draw(templates(st.sampled_from(free), drawn.mask_id))
    bias = draw(st.sampled_from([{}, {expand_id: 3.0}, {drawn.options["eos_id"]: 2.0, expand_id: 2.0}]))
    options = drawn.options | {"gaps": tuple(gaps), "expand_id": expand_id, "logit_bias": bias, "block_length": 0}
    return replace(drawn, tokens=tuple(tokens), options=options | {"logits_eos_inf": False})


def decoded(case: Case, n_threads: int = 1) -> Any:
    canvas = make_canvas(case.tokens, case.mask_id, **case.options)
    with open_session(case, n_threads) as session:
        run_all(session, [canvas])
    return canvas


@pytest.mark.parametrize("schedule", (*SCHEDULES, "adaptive"))
def test_gaps_whose_length_the_model_finds(schedule: str) -> None:
    tally = Tally()
    lengths = set()

    @settings(max_examples=150)
    @given(elastic_cases(schedule=schedule), st.integers(1, 3))
    def check(case: Case, n_threads: int) -> None:
        canvas = decoded(case, n_threads)
        tally.compare(case, result_of(canvas))
        for (lo, hi), (_, _, least, most) in zip(canvas.growth.gaps, case.options["gaps"], strict=True):
            assert least <= hi - lo <= most
            written = {*canvas.tokens[lo:hi]}
            assert not written & {case.mask_id, case.options["expand_id"], case.options["eos_id"]}
            lengths.add(hi - lo)
        assert canvas.n <= canvas.n_most

    check()
    tally.assert_ties_are_rare()
    assert {0, 1, 4} <= lengths and max(lengths) > 4  # a gap begins with four masks


def test_what_is_given_stays_around_the_gaps() -> None:
    @settings(max_examples=100)
    @given(elastic_cases())
    def check(case: Case) -> None:
        canvas = decoded(case)
        given_before = [token for token in case.tokens if token != case.mask_id]
        pairs = zip(canvas.tokens, canvas.settled_at, strict=True)
        assert [token for token, step in pairs if step == -1] == given_before

    check()


@pytest.mark.parametrize(
    ("schedule", "algorithms"),
    [*((schedule, ANY) for schedule in (*SCHEDULES, "adaptive")), ("adaptive", ("saber",)), ("block", ("saber",))],
    ids=str,
)
def test_answers_that_grow(schedule: str, algorithms: tuple[str, ...]) -> None:
    tally = Tally()
    grown = set()

    @settings(max_examples=150)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        drawn = data.draw(cases(algorithms=algorithms, schedule=schedule, plan_names=("full", *CACHING), max_length=12))
        ends = {drawn.options["eos_id"]: data.draw(st.sampled_from([-3.0, 0.0, 5.0]))}
        numbers = {"stride": data.draw(st.integers(2, 6)), "n_tail": data.draw(st.integers(1, 6))}
        options = {"grow": data.draw(st.integers(1, 20)), "grow_options": numbers, "logit_bias": ends}
        case = replace(drawn, options=drawn.options | options)
        canvas = decoded(case, 2)
        tally.compare(case, result_of(canvas))
        assert case.mask_id not in canvas.tokens
        assert canvas.n == len(case.tokens) + canvas.growth.n_added <= canvas.n_most
        grown.add(canvas.growth.n_added > 0)

    check()
    tally.assert_ties_are_rare()
    assert grown == {False, True}


@pytest.mark.parametrize("schedule", (*SCHEDULES, "denoising"))
def test_steps_enough_are_one_for_each_token(schedule: str) -> None:
    """However many more there are than the gaps had masks at first; who found them needs no more passes than that."""

    @settings(max_examples=60)
    @given(elastic_cases(), st.sampled_from(["low_confidence", "random", "entropy"]))
    def check(drawn: Case, algorithm: str) -> None:
        chosen = {"algorithm": algorithm, "rule_options": None, "schedule": schedule, "steps": 500}
        case = replace(drawn, options=drawn.options | chosen)
        adaptive = replace(case, options=case.options | {"schedule": "adaptive"})
        canvas, as_needed = decoded(case), decoded(adaptive)
        assert (canvas.tokens, canvas.settled_at) == (as_needed.tokens, as_needed.settled_at)
        assert canvas.n_passes == as_needed.n_passes

    check()


@pytest.mark.parametrize(
    ("schedule", "steps", "a_step"), [("block", 32, 1), ("block", 16, 2), ("block", 8, 4), ("timestep", 32, 1)]
)
def test_steps_are_shared_among_all_that_an_answer_may_grow_to(schedule: str, steps: int, a_step: int) -> None:
    """Passes that add masks at first are none, and later blocks get theirs."""
    options = {"grow": 24, "grow_options": {"stride": 6}, "logit_bias": {18: -50.0, 17: -50.0}, "eps": 1e-9}
    canvas = make_canvas(
        [1, *[19] * 8], 19, algorithm="low_confidence", schedule=schedule, steps=steps, block_length=8, eos_id=18,
        eot_id=17, **options,
    )  # fmt: skip
    with Session(FakeModel(20), n_ctx=64, n_rows=64) as session:
        run_all(session, [canvas])
    assert (canvas.n, canvas.step, canvas.n_passes) == (1 + 8 + 24, steps, 4 + steps)
    settled = Counter(canvas.settled_at[1:])
    assert [settled[step] for step in range(steps)] == [a_step] * steps


def test_a_canvas_takes_the_room_that_it_may_come_to_need() -> None:
    model = FakeModel(20)
    options: dict[str, Any] = {"algorithm": "entropy", "schedule": "adaptive", "steps": 9, "eos_id": 18}
    gaps = ((1, 3, 0, 10),)
    canvas = make_canvas([1, 19, 19, 2], 19, gaps=gaps, expand_id=5, n_top=2, **options)
    assert (canvas.n, canvas.n_most, canvas.most_rows) == (4, 12, 10)
    with pytest.raises(ContextOverflowError):
        Session(model, n_ctx=11).add(canvas)
    with pytest.raises(ParameterError, match="rows"):
        Session(model, n_ctx=12, n_rows=9).add(canvas)
    with Session(model, n_ctx=12, n_rows=10) as session:
        run_all(session, [canvas])
    (lo, hi), *_ = canvas.growth.gaps
    assert (lo, canvas.tokens[0], canvas.tokens[hi:]) == (1, 1, [2])
    assert [canvas.top(place)[0][0] for place in range(lo, hi)] == canvas.tokens[lo:hi]  # they have moved along


@pytest.mark.parametrize(
    "gaps", [[(0, 0, 0, 4)], [(0, 4, 5, 6)], [(0, 4, 0, 3)], [(2, 4, 0, 4), (1, 2, 0, 4)], [(0, 4, -1, 4)]]
)
def test_what_is_no_gap_is_refused(gaps: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(ParameterError) as refused:
        make_gaps(gaps, expand_id=3, delete_id=4)
    assert refused.value.name == "gaps"


def test_what_is_no_growth_is_refused() -> None:
    for expand_id, delete_id in ((3, 3), (-1, 4), (3, -1)):
        with pytest.raises(ParameterError):
            make_gaps([(0, 4, 0, 4)], expand_id=expand_id, delete_id=delete_id)
    with pytest.raises(ParameterError):
        make_growth(-1)
