"""Direct calls on the core: what it refuses, and what it leaves usable afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hoshikage import gguf
from hoshikage._context import PARAMS_A_THREAD, threads_for, usable_cores
from hoshikage._core import Board, Canvas, Model, Session
from hoshikage._fake import FakeModel
from hoshikage._raw import fault_of_block_passes
from hoshikage.errors import (
    Cancelled,
    ContextOverflowError,
    DecodeError,
    ModelFileError,
    ModelLoadError,
    ParameterError,
)
from hoshikage.strategies import make_edits, make_ends, make_plan, make_rule, make_schedule
from tests.conftest import TinyModel

MODEL = FakeModel(32)


def make_canvas(n: int = 12, *, n_given: int = 3, **options: Any) -> Canvas:
    values: dict[str, Any] = {
        "mask_id": MODEL.mask_id, "rule": make_rule("low_confidence"), "schedule": make_schedule("block"),
        "edits": make_edits(MODEL.mask_id), "steps": 9,
    }  # fmt: skip
    return Canvas([1] * n_given + [MODEL.mask_id] * (n - n_given), **{**values, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0}, {"steps": -3}, {"block_length": -1}, {"temperature": nan}, {"temperature": -1.0},
        {"temperature": inf}, {"top_p": nan}, {"top_p": 1.5}, {"top_k": -1},
    ],
)  # fmt: skip
def test_values_that_mean_nothing_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError) as refused:
        make_canvas(**options)
    assert refused.value.name == next(iter(options))
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: make_rule("magic"), "algorithm"),
        (lambda: make_rule(5), "algorithm"),
        (lambda: make_rule("entropy", alg_temp=nan), "alg_temp"),
        (lambda: make_schedule("never"), "schedule"),
        (lambda: make_schedule("timestep", eps=0.0), "eps"),
        (lambda: make_schedule("timestep", eps=nan), "eps"),
        (lambda: make_edits(31, cfg_scale=nan), "cfg_scale"),
        (lambda: make_edits(31, repetition_penalty=0.0), "repetition_penalty"),
        (lambda: make_edits(31, logit_bias={3: nan}), "logit_bias"),
        (lambda: make_edits(31, logit_bias={-3: 1.0}), "logit_bias"),
        (lambda: make_canvas(4, n_given=4), "tokens"),
        (lambda: make_canvas(0, n_given=0), "tokens"),
    ],
)
def test_strategies_and_canvases_refuse_nonsense(make: Callable[[], object], name: str) -> None:
    with pytest.raises(ParameterError) as refused:
        make()
    assert refused.value.name == name


def test_seams_are_not_none() -> None:
    for nothing in ({"rule": None}, {"schedule": None}, {"edits": [None]}):
        with pytest.raises(TypeError):
            make_canvas(**nothing)


def test_what_does_not_fit_is_refused_and_the_next_canvas_works() -> None:
    session = Session(MODEL, n_ctx=16, n_seq=2, n_rows=8)
    with pytest.raises(ContextOverflowError):
        session.add(make_canvas(17, block_length=4))
    with pytest.raises(ParameterError, match="block_length"):
        session.add(make_canvas(16, n_given=1))
    with pytest.raises(ParameterError, match="n_seq"):
        Session(MODEL, n_ctx=64, n_seq=1).add(make_canvas(edits=make_edits(MODEL.mask_id, cfg_scale=1.0)))
    with pytest.raises(ParameterError, match="vocabulary"):
        session.add(Canvas([99, 31], mask_id=31, rule=make_rule(4), schedule=make_schedule(1), steps=1))
    canvas = make_canvas(block_length=4)
    session.add(canvas)
    with pytest.raises(ParameterError, match="in a session"):
        session.add(canvas)
    while not canvas.done:
        session.run()
    with pytest.raises(ParameterError, match="finished"):
        session.add(canvas)
    assert session.canvases == ()
    assert MODEL.mask_id not in canvas.tokens


def test_a_vocabulary_of_forbidden_tokens_is_an_error_and_not_an_answer() -> None:
    session = Session(MODEL)
    canvas = make_canvas(edits=make_edits(MODEL.mask_id, logit_bias=dict.fromkeys(range(32), -inf)))
    session.add(canvas)
    assert session.run() == [canvas] and canvas.done
    assert isinstance(canvas.error, DecodeError) and "forbidden" in str(canvas.error)
    assert canvas.tokens.count(MODEL.mask_id) == canvas.n_masked == 9
    fine = make_canvas()
    session.add(fine)
    assert session.run() == [fine] and fine.error is None


def test_a_board_stops_and_interrupts() -> None:
    session, board = Session(MODEL), Board()
    canvas = make_canvas()
    session.add(canvas)
    board.attend()
    assert session.run(board) == []
    assert canvas.step == board.steps == 1
    board.cancel()
    with pytest.raises(Cancelled):
        session.run(board)
    assert canvas.step == 1
    board.reset()
    assert session.run(board) == [canvas]


def test_a_cancel_ends_a_forward_pass(tiny_model: TinyModel) -> None:
    """The cancel comes from another thread, while the one thread of the pass is between two nodes of its graph."""
    path = tiny_model("llada", n_layer=8, n_embd=128, n_ff=256, n_ctx_train=1024)
    with Model(path) as model, Session(model, n_ctx=1024, n_rows=8, n_threads=1) as session:
        canvas = Canvas(
            [1] + [model.mask_id] * 1023, mask_id=model.mask_id, rule=make_rule(4), schedule=make_schedule(1),
            edits=make_edits(model.mask_id), block_length=8, steps=1023,
        )  # fmt: skip
        session.add(canvas)
        board = Board()
        started = threading.Event()

        def cancel_soon() -> None:
            started.wait()
            while board.steps == 0:
                pass
            board.cancel()

        other = threading.Thread(target=cancel_soon)
        other.start()
        started.set()
        with pytest.raises(Cancelled):
            session.run(board)
        other.join()
        # The loop's own check would have let the second pass run to its end, and then counted a step.
        assert canvas.step == board.steps
        assert canvas.n_passes - canvas.step <= 1
        board.reset()
        session.run(board, max_steps=1)
        assert canvas.step == board.steps


@pytest.mark.parametrize(("n_canvases", "n", "n_passes"), [(3, 200, 3), (5, 100, 3), (8, 32, 1), (2, 300, 2)])
def test_whole_canvases_share_a_pass_where_that_gains(n_canvases: int, n: int, n_passes: int) -> None:
    """What comes of them is the same; a board counts one step for all."""
    alone = make_canvas(n)
    with Session(MODEL, n_ctx=4096, n_seq=8) as session:
        session.add(alone)
        session.run()
    board, canvases = Board(), [make_canvas(n) for _ in range(n_canvases)]
    with Session(MODEL, n_ctx=4096, n_seq=8) as session:
        for canvas in canvases:
            session.add(canvas)
        session.run(board, max_steps=1)
        assert (session.n_passes, board.steps) == (n_passes, 1)
        finished = []
        while session.canvases:
            finished += session.run(board)
    assert len(finished) == n_canvases
    assert all(canvas.tokens == alone.tokens and canvas.n_passes == alone.n_passes for canvas in canvases)


def test_who_was_finished_before_a_pass_failed_is_let_go_with_the_next_call() -> None:
    first, second = make_canvas(200, n_given=199, steps=1), make_canvas(200, n_given=190)
    with Session(MODEL, n_ctx=4096, n_seq=8) as session:
        session.add(first)
        session.add(second)
        session.forward.passes_left = 1
        with pytest.raises(DecodeError):
            session.run()
        assert (first.done, second.done, second.step, len(session.canvases)) == (True, False, 0, 2)
        assert session.run() == [first]
        assert session.run() == [second]
    assert MODEL.mask_id not in second.tokens


@pytest.mark.parametrize("n_before", [0, 3])
def test_a_pass_that_was_not_made_is_not_counted(n_before: int) -> None:
    """Nor does a plan forget what is cached because a pass before its own has failed."""
    options = {"plan": make_plan("dual"), "block_length": 4, "steps": 20}
    alone = make_canvas(200, n_given=180, **options)
    with Session(MODEL, n_ctx=4096, n_seq=8) as session:
        session.add(alone)
        session.run()
    first, failing, other = make_canvas(300), make_canvas(300), make_canvas(200, n_given=180, **options)
    with Session(MODEL, n_ctx=4096, n_seq=8) as session:
        for canvas in (first, failing, other):
            session.add(canvas)
        for _ in range(n_before):
            session.step()
        session.forward.passes_left = 1
        with pytest.raises(DecodeError):
            session.run()
        assert [canvas.n_passes for canvas in (first, failing, other)] == [n_before + 1, n_before, n_before]
        while session.canvases:
            session.run()
    assert (other.tokens, other.n_passes, other.n_rows) == (alone.tokens, alone.n_passes, alone.n_rows)


def test_a_pass_by_hand_is_cancelled(tiny_model: TinyModel) -> None:
    """From another thread, which sees that it has begun; and before it begins."""
    path = tiny_model("llada", n_layer=8, n_embd=128, n_ff=256, n_ctx_train=1024)
    with Model(path) as model, Session(model, n_ctx=1024, n_rows=8, n_threads=1) as session:
        board = Board()

        def cancel_soon() -> None:
            while board.nodes == 0:
                pass
            board.cancel()

        other = threading.Thread(target=cancel_soon)
        other.start()
        with pytest.raises(Cancelled):
            session.pass_by_hand([1] * 1024, 0, 1024, 1024, last=1, board=board)
        other.join()
        n_nodes = board.nodes
        with pytest.raises(Cancelled):
            session.pass_by_hand([1], 0, 1, 1, board=board)
        with pytest.raises(Cancelled):
            fault_of_block_passes(session, board)
        assert board.nodes == n_nodes
        board.reset()
        assert session.pass_by_hand([1], 0, 1, 1, board=board).shape == (1, model.n_vocab)
        assert fault_of_block_passes(session, board) is None


def test_two_threads_do_not_share_a_session(tiny_model: TinyModel) -> None:
    path = tiny_model("llada")
    with Model(path) as model, Session(model, n_ctx=256, n_threads=1) as session:
        session.add(
            Canvas(
                [1] + [model.mask_id] * 200, mask_id=model.mask_id, rule=make_rule(4), schedule=make_schedule(1),
                edits=make_edits(model.mask_id), steps=200,
            )
        )  # fmt: skip
        board = Board()
        ends: list[type[Exception]] = []

        def work() -> None:
            try:
                session.run(board)
            except Cancelled as end:
                ends.append(type(end))

        worker = threading.Thread(target=work)
        worker.start()
        while board.steps == 0:
            pass
        for intrude in (session.run, session.close, session.forward.close, lambda: session.logits([[1]])):
            with pytest.raises(RuntimeError):
                intrude()
        with pytest.raises(RuntimeError):
            model.close()
        board.cancel()
        worker.join()
        assert ends == [Cancelled]


def test_closed_things_say_so(tiny_model: TinyModel) -> None:
    model = Model(tiny_model("llada"))
    session = Session(model, n_ctx=256, n_threads=1)
    with pytest.raises(RuntimeError, match="in use"):
        model.close()
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.logits([[1, 2]])
    model.close()
    model.close()
    for use in (lambda: model.tokenize("a"), lambda: model.mask_id, lambda: Session(model)):
        with pytest.raises(RuntimeError, match="closed"):
            use()


@pytest.mark.parametrize(
    "options",
    [
        {"n_ctx": -1}, {"n_seq": 0}, {"n_seq": 10_000}, {"n_ctx": 1 << 30}, {"flash_attn": "perhaps"},
        {"type_k": "f64"}, {"type_v": "q4_k"},
    ],
)  # fmt: skip
def test_contexts_refuse_what_llama_cpp_would_abort_on(options: dict[str, Any], tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada")) as model:
        with pytest.raises(ParameterError):
            Session(model, **options)
        Session(model, n_ctx=256, n_threads=1).close()


@pytest.mark.parametrize(
    ("ids", "mask"),
    [([[1, 999]], None), ([[-1, 2]], None), ([[1, 2, 3]], [[1, 0, 1]]), ([[1, 2, 3]], [[1, 1]]), ([[[1]]], None)],
)
def test_logits_refuse_bad_tables(ids: Any, mask: Any) -> None:
    session = Session(MODEL)
    with pytest.raises(ParameterError):
        session.logits(ids, mask)
    assert session.logits([[1, 2]]).shape == (1, 2, 32)


def test_tokens_out_of_range_never_reach_llama_cpp(tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada")) as model:
        for token in (-1, model.n_vocab, 2**31 - 1):
            with pytest.raises(ParameterError):
                model.detokenize([token])
        with pytest.raises(UnicodeDecodeError):
            model.tokenize(b"\xff\xfe")
        assert model.tokenize("") == []


def test_long_answers_in_parts(tiny_model: TinyModel) -> None:
    """A context that returns four rows a pass gives the same logits as one that returns all."""
    with Model(tiny_model("dream")) as model:
        ids = np.arange(30) % 250
        with Session(model, n_ctx=256, n_rows=4, n_threads=1) as few, Session(model, n_ctx=256, n_threads=1) as many:
            assert np.allclose(few.logits(ids), many.logits(ids), atol=1e-4)


@pytest.mark.parametrize("retag", [True, False])
def test_a_file_replaced_behind_our_back_is_not_loaded(
    retag: bool, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model("llada").read_bytes())
    inspect = gguf.inspect

    def inspect_then_replace(name: str) -> gguf.Header:
        header = inspect(name)
        other = tmp_path / "other.gguf"
        other.write_bytes(path.read_bytes())
        other.replace(path)
        return header

    monkeypatch.setattr(gguf, "inspect", inspect_then_replace)
    with pytest.raises(ModelLoadError, match="replaced"):
        Model(path, retag=retag)


def test_a_missing_file_leaks_nothing(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        with pytest.raises(ModelFileError, match=r"nothing\.gguf"):
            Model(tmp_path / "nothing.gguf")
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: make_plan("magic"), "plan"),
        (lambda: make_plan("window", window=-1), "window"),
        (lambda: make_plan("dual", refresh=-1), "refresh"),
        (lambda: make_plan("dual", before=1 << 31), "before"),
        (lambda: make_rule("threshold", threshold=nan), "threshold"),
        (lambda: make_rule("threshold", threshold=1.5), "threshold"),
        (lambda: make_rule("hierarchical", low=0.0), "threshold"),
        (lambda: make_rule("factor", factor=nan), "factor"),
        (lambda: make_rule("entropy_bounded", bound=-1.0), "entropy_bound"),
        (lambda: make_rule("saber", least=0), "least"),
        (lambda: make_ends([], length=4, n_masked=8), "block_ends"),
        (lambda: make_ends(range(9), length=4, n_masked=8), "block_ends"),
        (lambda: make_ends([1], length=0, n_masked=8), "block_length"),
        (lambda: make_ends([1], length=4, n_masked=8, enough=nan), "block_ends"),
    ],
)
def test_plans_rules_and_ends_refuse_nonsense(make: Callable[[], object], name: str) -> None:
    with pytest.raises(ParameterError) as refused:
        make()
    assert refused.value.name == name


@pytest.mark.parametrize(
    ("plan", "lacks", "remedy"),
    [("window", "native", "full plan"), ("dual", "patches", "window plan"), ("vicinity", "patches", "window plan")],
)
def test_a_plan_that_a_context_cannot_follow_is_refused(plan: str, lacks: str, remedy: str) -> None:
    model = FakeModel(32)
    setattr(model, lacks, lacks == "native")
    with Session(model) as session:
        with pytest.raises(ParameterError, match=remedy):
            session.add(make_canvas(plan=make_plan(plan)))
        session.add(make_canvas(plan=make_plan("full")))


def test_what_left_a_session_is_computed_anew_in_the_next() -> None:
    """Its cells are gone, and another's may be there; the fake raises when a plan counts on them."""
    canvas, other = (make_canvas(30, block_length=5, plan=make_plan("dual"), steps=27) for _ in range(2))
    with Session(MODEL, n_ctx=64, n_seq=2) as session:
        session.add(canvas)
        session.run(max_steps=3)
        assert canvas.cached == 30
        session.remove(canvas)
        session.add(other)
        session.step()
        session.add(canvas)
        assert canvas.cached == 0
        n_warm = canvas.n_warm
        session.step()
        assert canvas.n_warm == n_warm + 1
        while session.canvases:
            session.run()
    assert canvas.done
    assert other.done


def test_a_small_model_has_fewer_threads_than_there_are_cores(tiny_model: TinyModel) -> None:
    assert threads_for(0) == threads_for(PARAMS_A_THREAD) == 1
    assert threads_for(2 * PARAMS_A_THREAD) == min(2, usable_cores())
    assert threads_for(10**12) == usable_cores()
    with Model(tiny_model()) as model, Session(model, n_ctx=64) as tiny, Session(model, n_ctx=64, n_threads=3) as told:
        assert (tiny.n_threads, told.n_threads) == (1, 3)


def test_a_pass_takes_the_longest_canvas_and_not_all_of_them() -> None:
    """What is computed with takes memory for `n_tokens` positions; the fake refuses a pass that is longer."""
    alone = [Session(MODEL, n_ctx=64) for _ in range(3)]
    lengths = (40, 64, 12)
    for session, n in zip(alone, lengths, strict=True):
        session.add(make_canvas(n, seed=n))
    with_company = Session(MODEL, n_ctx=128, n_seq=4, n_tokens=64)
    for n in lengths:
        with_company.add(make_canvas(n, seed=n))
    (first,), (second,), (third,) = (session.run() for session in alone)
    finished = {canvas.n: canvas.tokens for canvas in with_company.run()}
    assert finished == {canvas.n: canvas.tokens for canvas in (first, second, third)}
    with pytest.raises(ParameterError, match="n_tokens: a pass of 65 positions is needed and the context computes 64"):
        with_company.add(make_canvas(65))
    guided = make_edits(MODEL.mask_id, cfg_scale=1.0)
    with pytest.raises(ParameterError, match="n_tokens: a pass of 66 positions"):
        with_company.add(make_canvas(33, edits=guided))
    with_company.add(make_canvas(32, edits=guided))
    assert len(with_company.run()) == 1


def test_a_context_of_short_passes_computes_the_same(tiny_model: TinyModel) -> None:
    """Canvases of 40 positions, six of which share a pass: whether it may have 256 or 512 changes nothing."""
    with Model(tiny_model("llada")) as model:
        answers = []
        for n_tokens in (0, 256):
            with Session(model, n_ctx=512, n_seq=8, n_rows=256, n_tokens=n_tokens, n_threads=1) as session:
                assert session.forward.n_tokens_max == (n_tokens or 512)
                for n in range(8):
                    tokens = [1] * (30 + n % 2) + [model.mask_id] * (10 - n % 2)
                    rule, schedule = make_rule("low_confidence"), make_schedule("block")
                    session.add(Canvas(tokens, mask_id=model.mask_id, rule=rule, schedule=schedule, steps=4))
                answers.append(sorted(canvas.tokens for canvas in session.run()))
                assert session.logits([[1] * 256]).shape == (1, 256, model.n_vocab)
        assert answers[0] == answers[1]
