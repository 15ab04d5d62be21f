"""Canvases for which less room is kept than they may come to need settle the same tokens in the same steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage._block import BlockSession
from hoshikage._core import Canvas, Session
from hoshikage._fake import FakeModel
from hoshikage.errors import ContextOverflowError, ParameterError
from hoshikage.strategies import make_plan, make_rule, make_schedule
from tests.blocks import BlockCase, block_cases
from tests.cases import CACHING, Case, cases
from tests.engine import facts, make_canvas, result_of, run_all

SHARES = st.integers(1, 12)
MASK = 31


def canvas_of(n_prompt: int, n_new: int, *, share: int | None, plan: str = "window", window: int = 4) -> Canvas:
    return Canvas(
        [1] * n_prompt + [MASK] * n_new, mask_id=MASK, rule=make_rule("threshold"), schedule=make_schedule("adaptive"),
        plan=make_plan(plan, **({} if plan == "full" else {"window": window})), steps=n_new, block_length=4,
        share=share,
    )  # fmt: skip


@given(cases(plan_names=("full", *CACHING)), SHARES)
def test_a_canvas_goes_on_in_sessions_that_hold_no_more_than_is_kept(case: Case, share: int) -> None:
    """Where all that is seen is computed anew at the start of each block, as it is but for `whole=False`."""
    whole = {} if case.options["plan"] == "full" else {"whole": True}
    options = case.options | {"plan_options": case.options["plan_options"] | whole}
    model, n_streams = FakeModel(case.n_vocab, salt=case.salt), 2 if options.get("cfg_scale") else 1
    expected = make_canvas(case.tokens, case.mask_id, **options)
    with Session(model, n_ctx=2048, n_seq=2, n_rows=512) as session:
        run_all(session, [expected])
    canvas = make_canvas(case.tokens, case.mask_id, share=share, **options)
    kept = [0]
    while not canvas.done:
        assert kept[-1] < canvas.n_kept <= canvas.n_most, "more each time"
        kept.append(canvas.n_kept)
        with Session(model, n_ctx=n_streams * canvas.n_kept, n_seq=2, n_rows=512) as session:
            run_all(session, [canvas])
    assert facts(result_of(canvas)) == facts(result_of(expected))


@given(block_cases(), SHARES)
def test_a_canvas_in_blocks_goes_on_where_it_was(case: BlockCase, share: int) -> None:
    """What it computed is in the cache of the session that it comes back to."""
    model, whole = FakeModel(case.n_vocab, salt=case.salt, block_length=case.options["length"]), case.canvas()
    with BlockSession(model, n_ctx=2048, n_rows=512) as session:
        run_all(session, [whole])
    canvas = case.canvas(share)
    with BlockSession(model, n_ctx=2048, n_rows=512) as session:
        while not canvas.done:
            session.add(canvas)
            while session.canvases:
                session.run()
                assert canvas.block_hi <= canvas.n_kept or canvas.paused or canvas.done
    assert facts(result_of(canvas))["tokens"] == facts(result_of(whole))["tokens"]
    assert canvas.settled_at == whole.settled_at


def test_room_is_kept_for_what_is_seen_and_not_for_what_may_come() -> None:
    lazy, exact = canvas_of(10, 1000, share=16), canvas_of(10, 1000, share=16, plan="full")
    assert (lazy.n_kept, exact.n_kept) == (10 + 16, 1010)
    assert canvas_of(10, 1000, share=None).n_kept == canvas_of(10, 1000, share=5000).n_kept == 1010
    assert canvas_of(10, 1000, share=16, window=300).n_kept == 10 + 4 + 300, "the first block looks further"
    with Session(FakeModel(), n_ctx=128, n_seq=4, n_rows=64) as session:
        many = [canvas_of(10, 1000, share=16) for _ in range(4)]
        for canvas in many:
            session.add(canvas)
        with pytest.raises((ContextOverflowError, ParameterError)):
            session.add(exact)
        assert session.run() and all(canvas.paused and not canvas.done for canvas in many)
        assert [canvas.n_kept for canvas in many] == [10 + 32] * 4, "twice as many behind the prompt"


@pytest.mark.parametrize("share", [0, -1, 1 << 31])
def test_a_share_is_a_number_of_positions(share: int) -> None:
    with pytest.raises(ParameterError):
        canvas_of(4, 8, share=share)
