"""On the fake model block decoding settles what its oracle settles: each token, in the same step, in as many passes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage._block import BlockSession
from hoshikage._fake import FakeModel
from tests.blocks import RULES, BlockCase, block_batches, block_cases, result_of
from tests.engine import run_all
from tests.reference import Result
from tests.tally import Tally


def settled(result: Result) -> tuple[list[int], list[int]]:
    return result.tokens.tolist(), result.settled_at.tolist()


def open_session(case: BlockCase, n_seq: int = 1, n_threads: int = 1) -> BlockSession:
    model = FakeModel(case.n_vocab, salt=case.salt, block_length=case.options["length"])
    return BlockSession(model, n_ctx=2048, n_seq=n_seq, n_rows=512, n_threads=n_threads)


@pytest.mark.parametrize("rule", RULES)
def test_alone(rule: str) -> None:
    """Every schedule, blocks of 1 to 32, sub-blocks, shifted rows, prompts of every remainder."""
    tally = Tally()

    @settings(max_examples=80)
    @given(block_cases(rules=(rule,)), st.integers(1, 3))
    def check(case: BlockCase, n_threads: int) -> None:
        canvas = case.canvas()
        with open_session(case, n_threads=n_threads) as session:
            run_all(session, [canvas])
        assert canvas.done
        tally.compare(case, result_of(canvas))

    check()
    tally.assert_ties_are_rare()


def test_batched_and_coming_and_going() -> None:
    """Several in one pass, each at another block; one that is thrown out and comes back goes on where it was."""
    tally = Tally()

    @settings(max_examples=80)
    @given(block_batches(), st.integers(0, 5))
    def check(batch: list[BlockCase], patience: int) -> None:
        canvases = [case.canvas() for case in batch]
        with open_session(batch[0], len(batch)) as session:
            for canvas in canvases:
                session.add(canvas)
                session.step()
            for _ in range(patience):
                session.step()
            if canvases[0] in session.canvases:
                session.remove(canvases[0])
                session.step()
                session.add(canvases[0])
            while session.canvases:
                session.run()
        for case, canvas in zip(batch, canvases, strict=True):
            tally.compare(case, result_of(canvas), settled)  # as many passes need not be: what others left is used

    check()
    tally.assert_ties_are_rare()


@settings(max_examples=100)
@given(block_cases(rules=("threshold", "joint_threshold", "sequential"), lengths=(2, 4, 8)), st.data())
def test_a_second_turn_computes_only_what_is_new(case: BlockCase, data: st.DataObject) -> None:
    """Its prompt is the first one with its answer and something behind: the same text as without a cache, and a row
    for each position of the blocks that are not cached whole."""
    length = case.options["length"]
    token = st.integers(0, case.n_vocab - 1).filter(lambda t: t != case.mask_id)
    more = data.draw(st.lists(token, max_size=12))
    with open_session(case) as session:
        first = case.canvas()
        run_all(session, [first])
        kept = first.clean
        answer = [t for t in first.tokens[: first.n_prompt + first.max_tokens] if t != case.mask_id]
        prompt = (*answer, *more)
        second = BlockCase(prompt, case.mask_id, case.n_vocab, case.salt, case.options)
        again, fresh = second.canvas(), second.canvas()
        run_all(session, [again])
        rows = session.forward.rows_computed  # type: ignore[attr-defined]
    with open_session(case) as session:
        run_all(session, [fresh])
    assert again.tokens == fresh.tokens
    assert again.settled_at == fresh.settled_at
    usable = min(kept, (len(prompt) - case.options["shift"]) // length * length)
    assert again.n_reused == usable
    assert again.n_rows == fresh.n_rows - usable
    assert rows == first.n_rows + again.n_rows


@settings(max_examples=60)
@given(block_batches(max_size=3), st.integers(1, 3))
def test_what_others_left_changes_no_text(batch: list[BlockCase], n_seq: int) -> None:
    """Prompts that begin alike, one after the other in few streams of a short context: copies, cuts and evictions."""
    shared = batch[0].prompt
    cases = [BlockCase((*shared, *case.prompt), case.mask_id, case.n_vocab, case.salt, case.options) for case in batch]
    model = FakeModel(batch[0].n_vocab, salt=batch[0].salt, block_length=batch[0].options["length"])
    with BlockSession(model, n_ctx=96, n_seq=n_seq, n_rows=64) as session:
        for case in [*cases, *cases]:
            canvas = case.canvas()
            run_all(session, [canvas])
            with open_session(case) as apart:
                fresh = case.canvas()
                run_all(apart, [fresh])
            assert (canvas.tokens, canvas.settled_at) == (fresh.tokens, fresh.settled_at)
