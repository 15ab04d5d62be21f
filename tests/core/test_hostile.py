"""What no program should do to the core, and some do: it answers with an exception, and the process lives on."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np
import pytest

from hoshikage._block import BlockCanvas, BlockSession, Blockwise
from hoshikage._core import Board, Canvas, Model, Session
from hoshikage._fake import FakeContext, FakeModel
from hoshikage.errors import Cancelled, ParameterError
from hoshikage.strategies import edits, make_edits, make_form, make_gaps, make_growth, make_rule, make_schedule
from hoshikage.strategies.elastic import Elastic, Limits
from tests.conftest import TinyModel

MODEL = FakeModel(32)
TOKENS = [1, 2, 31, 31, 31]


def parts(**options: Any) -> dict[str, Any]:
    values = {"mask_id": 31, "rule": make_rule(4), "schedule": make_schedule(1), "edits": make_edits(31), "steps": 3}
    return {**values, **options}


def open_session(model: Any = MODEL, **options: Any) -> Session:
    return Session(model, **{"n_ctx": 256, "n_seq": 2, "n_threads": 1, **options})


def decoded(canvas: Canvas, model: Any = MODEL) -> list[int]:
    session = open_session(model)
    session.add(canvas)
    session.run()
    return canvas.tokens


# -- objects that were never made, or half, or twice


def test_a_session_that_was_never_opened_says_so() -> None:
    session = Session.__new__(Session)
    for use in (lambda: session.n_ctx, lambda: session.add(Canvas(TOKENS, **parts())), lambda: session.logits([[1]])):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    assert session.run() == [] and session.canvases == ()
    session.close()


@pytest.mark.parametrize("broken", [{"edits": [None]}, {"edits": make_edits(31) * 9}, {"block_length": -1}])
def test_a_canvas_whose_making_failed_is_not_decoded(broken: dict[str, Any]) -> None:
    canvas = Canvas.__new__(Canvas)
    with pytest.raises((ParameterError, TypeError)):
        canvas.__init__(TOKENS, **parts(**broken))  # type: ignore[misc]
    for unmade in (canvas, Canvas.__new__(Canvas)):
        with pytest.raises(ParameterError, match="making failed"):
            open_session().add(unmade)


def test_a_canvas_that_its_own_tokens_make_is_made_once() -> None:
    canvas = Canvas.__new__(Canvas)

    class Tokens(list[int]):
        def __iter__(self) -> Iterator[int]:
            canvas.__init__(TOKENS, **parts())  # type: ignore[misc]
            return iter([1] * 50 + [31] * 50)

    with pytest.raises(RuntimeError, match="once"):
        canvas.__init__(Tokens(), **parts())  # type: ignore[misc]
    assert decoded(canvas) == decoded(Canvas(TOKENS, **parts()))


def test_edits_made_without_their_init_or_twice_stay_inside_their_arrays() -> None:
    class Unmade(edits.Guidance):
        def __init__(self) -> None:
            pass

    for guidance in (edits.Guidance.__new__(edits.Guidance), Unmade()):
        assert guidance.unguided
        decoded(Canvas(TOKENS, **parts(edits=[guidance])))
    forbid = edits.Forbid(1, 2, 3, 4)
    for _ in range(100):
        forbid.__init__(5, 6, 7, 31)  # type: ignore[misc]
    assert decoded(Canvas(TOKENS, **parts(edits=[forbid]))) == decoded(
        Canvas(TOKENS, **parts(edits=make_edits(31, forbidden=(5, 6, 7))))
    )


def test_a_bias_takes_as_many_tokens_as_come() -> None:
    class Liar(dict[int, float]):
        def __len__(self) -> int:
            return 1

    honest = dict.fromkeys(range(30), -inf)
    liar = edits.Bias(Liar(honest))
    assert decoded(Canvas(TOKENS, **parts(edits=[liar, *make_edits(31)])))[2:] == [30] * 3


def test_what_a_canvas_has_room_for_is_said_once() -> None:
    growth = make_growth(2)
    canvas = Canvas(TOKENS, **parts(growth=growth, n_top=2))
    with pytest.raises(RuntimeError, match="once"):
        growth.__init__(4000, n_tail=4000)  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="once"):
        canvas.tops.__init__(64)  # type: ignore[misc]
    assert (growth.most, growth.n_tail, canvas.tops.k) == (2, 32, 2)
    decoded(canvas)
    assert canvas.n <= canvas.n_most == 7


def test_gaps_and_biases_that_their_own_items_make_are_made_once() -> None:
    growth, bias = Elastic.__new__(Elastic), edits.Bias.__new__(edits.Bias)

    class Gaps(list[tuple[int, int, int, int]]):
        def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
            growth.__init__([(2, 5, 0, 8)], expand_id=30, delete_id=29)  # type: ignore[misc]
            return iter([(k, k + 1, 0, 8) for k in range(2, 5)])

    class Pairs(dict[int, float]):
        def items(self) -> Any:
            bias.__init__({5: 1.0})  # type: ignore[misc]
            return dict.fromkeys(range(30), 1.0).items()

    with pytest.raises(RuntimeError, match="once"):
        growth.__init__(Gaps(), expand_id=30, delete_id=29)  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="once"):
        bias.__init__(Pairs())  # type: ignore[misc]
    assert growth.gaps == [(2, 5)]
    assert decoded(Canvas(TOKENS, **parts(edits=[bias, *make_edits(31)]))) == decoded(
        Canvas(TOKENS, **parts(edits=make_edits(31, logit_bias={5: 1.0})))
    )


@pytest.mark.parametrize("nothing", [(), (None,)])
def test_there_are_no_limits_of_no_gaps(nothing: tuple[None, ...]) -> None:
    with pytest.raises(TypeError):
        Limits.__new__(Limits, *nothing)


def test_contexts_and_models_are_made_once(tiny_model: TinyModel) -> None:
    model = Model(tiny_model("llada"))
    session = open_session(model, n_rows=8)
    session.close()
    with pytest.raises(RuntimeError, match="once"):
        session.forward.__init__(model, n_ctx=4096)  # type: ignore[misc]
    model.close()
    with pytest.raises(RuntimeError, match="once"):
        model.__init__(tiny_model("llada"))  # type: ignore[misc]
    fake = FakeContext(MODEL, n_ctx=8)
    with pytest.raises(RuntimeError, match="once"):
        fake.__init__(MODEL, n_ctx=4096)  # type: ignore[misc]


def test_nothing_that_holds_pointers_is_copied(tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada")) as model, open_session(model) as session:
        canvas = Canvas(TOKENS, **parts(edits=[edits.Guidance(1.0), edits.Bias({1: 1.0}), edits.Forbid(1)]))
        for thing in (model, session, session.forward, canvas, *canvas.edits):
            for how in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError):
                    how(thing)
        assert not any(hasattr(edit, "__setstate_cython__") for edit in canvas.edits)


# -- subclasses that lie


def test_a_canvas_cannot_hide_its_tokens() -> None:
    class Hidden(Canvas):
        @property
        def tokens(self) -> list[int]:
            return [0]

    with pytest.raises(ParameterError, match="vocabulary"):
        open_session().add(Hidden([2**31 - 1, 31], **parts(edits=make_edits(31, repetition_penalty=2.0))))


def test_a_canvas_equal_to_all_others_is_still_itself() -> None:
    class Same(Canvas):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    session, one, two = open_session(), Same(TOKENS, **parts()), Same(TOKENS, **parts())
    session.add(one)
    with pytest.raises(ParameterError, match="not in this session"):
        session.remove(two)
    session.add(two)
    session.remove(two)
    assert [canvas is one for canvas in session.canvases] == [True]


def test_a_context_that_overrides_close_is_freed_all_the_same(tiny_model: TinyModel) -> None:
    from hoshikage._context import Context

    kept: list[object] = []

    class Clinging(Context):
        def close(self) -> None:
            kept.append(self)

    model = Model(tiny_model("llada"))
    for _ in range(3):
        Clinging(model, n_ctx=256, n_threads=1)
    gc.collect()
    assert kept == []
    model.close()


# -- one object in several places


def test_a_canvas_moves_to_a_model_with_a_larger_vocabulary() -> None:
    """At a shifted canvas without a prompt, row 0 is read twice and copied: into as many floats as the row has."""
    canvas = Canvas([31] * 5, **parts(shift=True))
    first = open_session()
    first.add(canvas)
    first.remove(canvas)
    large = FakeModel(50_000)
    assert decoded(canvas, large) == decoded(Canvas([31] * 5, **parts(shift=True)), large)


def test_a_closed_session_lets_its_canvases_go() -> None:
    session, canvas = open_session(), Canvas(TOKENS, **parts())
    session.add(canvas)
    session.close()
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.add(Canvas(TOKENS, **parts()))
    assert session.run() == []
    assert decoded(canvas) == decoded(Canvas(TOKENS, **parts()))


def test_a_model_is_not_closed_under_a_context_that_opens(tiny_model: TinyModel) -> None:
    path = tiny_model("llada")
    for _ in range(20):
        model = Model(path)
        opening = threading.Event()
        ends: list[str] = []

        def work(model: Model = model, opening: threading.Event = opening, ends: list[str] = ends) -> None:
            opening.set()
            try:
                open_session(model, n_ctx=1024, n_seq=8).close()
            except RuntimeError as end:
                ends.append(str(end))

        thread = threading.Thread(target=work)
        thread.start()
        opening.wait()
        try:
            model.close()
        except RuntimeError as refused:
            assert "in use" in str(refused)
        thread.join()
        model.close()
        assert ends == [] or "closed" in ends[0]


def test_a_context_at_work_is_left_alone(tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada")) as model, open_session(model) as session:
        session.add(Canvas([1] + [model.mask_id] * 200, **parts(mask_id=model.mask_id, edits=[], steps=200)))
        board = Board()

        def work() -> None:
            with pytest.raises(Cancelled):
                session.run(board)

        worker = threading.Thread(target=work)
        worker.start()
        while board.steps == 0:
            pass
        with pytest.raises(RuntimeError, match="at work"):
            session.forward.close()  # type: ignore[attr-defined]
        board.cancel()
        worker.join()


CYCLES = """
import gc, sys
from hoshikage._core import Canvas, Model, Session
from hoshikage.strategies import make_rule, make_schedule
class Holder: pass
for _ in range(7):
    context = Session(Model(sys.argv[1]), n_ctx=256, n_threads=1).forward
    holder = Holder()
    holder.itself, holder.context = holder, context
    del holder, context
    gc.collect()
model = Model(sys.argv[1])
session = Session(model, n_ctx=256, n_threads=1)
canvas = Canvas([1, model.mask_id], mask_id=model.mask_id, rule=make_rule(4), schedule=make_schedule(1), steps=1)
session.add(canvas)
left = Holder()
left.itself, left.all = left, (model, session, session.forward, canvas)
"""


def test_cycles_are_collected_and_open_things_left_at_exit_in_any_order(tiny_model: TinyModel) -> None:
    """A context is freed before its model, also by the collector, which may clear attributes first."""
    command = [sys.executable, "-X", "dev", "-c", CYCLES, str(tiny_model("llada"))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


LEFT_AT_WORK = """
import sys, threading
from hoshikage._core import Board, Canvas, Model, Session
from hoshikage.errors import Cancelled
from hoshikage.strategies import make_rule, make_schedule
model, board = Model(sys.argv[1]), Board()
session = Session(model, n_ctx=1024, n_threads=1)
canvas = Canvas([1] + [model.mask_id] * 1000, mask_id=model.mask_id, rule=make_rule(4), schedule=make_schedule(1),
                steps=1000)
session.add(canvas)
def work():
    try:
        session.run(board)
    except Cancelled:
        pass
threading.Thread(target=work, daemon=True).start()
while board.steps == 0:
    pass
"""


def test_a_daemon_thread_is_out_of_llama_cpp_before_the_interpreter_ends(tiny_model: TinyModel) -> None:
    command = [sys.executable, "-X", "dev", "-c", LEFT_AT_WORK, str(tiny_model("llada", n_ctx_train=1024))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


# -- values


@pytest.mark.parametrize("alg", ["maskgit_plus", "topk_margin", "entropy"])
def test_the_coldest_temperatures_leave_one_token(alg: str) -> None:
    """Dividing by them must not overflow a float32: that would look like a damaged file."""
    cold = [decoded(Canvas(TOKENS, **parts(rule=make_rule(alg), temperature=t))) for t in (1e-20, 1e-40, 5e-324)]
    assert cold[0] == cold[1] == cold[2]


@pytest.mark.parametrize(
    "options",
    [
        {"logit_bias": {1: 1e300}}, {"logit_bias": {1: inf}}, {"repetition_penalty": 1e-300},
        {"repetition_penalty": 1e300}, {"cfg_scale": 1e300}, {"cfg_scale": inf},
    ],
)  # fmt: skip
def test_edits_that_would_overflow_a_logit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError) as refused:
        make_edits(31, **options)
    assert refused.value.name == next(iter(options))


@pytest.mark.parametrize("ids", [[[2**32 + 5]], [[1.7]], [["a"]], [[2**70]], None, [[True]]])
def test_logits_are_asked_for_with_ids(ids: Any) -> None:
    """A cast to int32 would make other, valid ids of these."""
    with pytest.raises(ParameterError, match="ids"):
        open_session().logits(ids)
    assert open_session().logits(np.array([[1, 2]], np.uint8)).shape == (1, 2, 32)


@pytest.mark.parametrize("options", [{"n_threads": 100_000}, {"n_threads_batch": -1}])
def test_threads_that_a_system_may_refuse_are_not_asked_for(options: dict[str, Any], tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada")) as model, pytest.raises(ParameterError, match="threads"):
        open_session(model, **options)


def test_what_progress_raises_leaves_the_board_as_it_was(tiny_model: TinyModel) -> None:
    board, calls = Board(), [0]

    def fail(fraction: float) -> None:
        calls[0] += 1
        raise KeyError(fraction)

    with pytest.raises(KeyError):
        Model(tiny_model("llada"), board=board, progress=fail)
    assert calls == [1] and not board.cancelled
    Model(tiny_model("llada"), board=board).close()


def test_a_number_is_no_text(tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada")) as model:
        with pytest.raises(TypeError):
            model.tokenize(5)  # type: ignore[arg-type]
        assert model.tokenize(bytearray(b"ab")) == model.tokenize("ab")  # type: ignore[arg-type]


# -- parts that belong together, or do not


def block_parts(**options: Any) -> dict[str, Any]:
    return {"max_tokens": 8, "grid": 4, **parts(**options)}


@pytest.mark.parametrize("alien", [{"edits": make_edits(31, cfg_scale=1.0)}, {"growth": make_growth(20)}])
def test_blocks_have_their_own_length_and_no_guidance(alien: dict[str, Any]) -> None:
    canvas = BlockCanvas.__new__(BlockCanvas)
    with pytest.raises(ParameterError, match="blocks have their own length"):
        canvas.__init__([1, 2, 3], **block_parts(**alien))  # type: ignore[misc]
    with pytest.raises(ParameterError, match="its making failed"):
        BlockSession(FakeModel(32, block_length=4), n_ctx=256, n_seq=3, n_threads=1).add(canvas)


def test_the_plan_of_block_models_is_for_their_canvases() -> None:
    with pytest.raises(ParameterError, match="kind of canvas"):
        decoded(Canvas(TOKENS, **parts(plan=Blockwise())))


def test_gaps_belong_to_one_canvas_and_lie_in_it() -> None:
    ids = {"expand_id": 30, "delete_id": 29}
    growth = make_gaps([(2, 5, 0, 8)], **ids)
    Canvas(TOKENS, **parts(growth=growth))
    for wrong in (growth, make_gaps([(10**6, 10**6 + 1000, 0, 1000)], **ids), make_gaps([(1, 5, 0, 8)], **ids)):
        with pytest.raises(ParameterError):
            Canvas(TOKENS, **parts(growth=wrong))


def test_credit_moves_to_a_model_with_a_smaller_vocabulary() -> None:
    canvas = Canvas(TOKENS, **parts(edits=make_edits(31, n_credited=6, logit_bias={7: 9.0})))
    large = open_session(FakeModel(200_000))
    large.add(canvas)
    large.run(max_steps=1)
    large.remove(canvas)
    small = open_session()
    small.add(canvas)
    small.run()
    assert canvas.done and max(canvas.tokens) < 32


def test_a_form_is_followed_in_its_own_model(tiny_model: TinyModel) -> None:
    one, other = Model(tiny_model("llada"), n_gpu_layers=0), Model(tiny_model("llada"), n_gpu_layers=0)
    form = make_form(one, "root ::= [a-z ]*")
    mask = one.mask_id
    rule, no_edits = make_rule("in_order"), make_edits(mask)
    canvas = Canvas([1, mask, mask], **parts(mask_id=mask, rule=rule, edits=no_edits, form=form))
    with pytest.raises(ParameterError, match="another model"):
        open_session(other).add(canvas)


def test_blocks_of_another_length_have_another_cache() -> None:
    prompt = list(range(1, 25))

    def written(session: BlockSession, grid: int) -> list[int]:
        canvas = BlockCanvas(prompt, **block_parts() | {"grid": grid})
        session.add(canvas)
        session.run()
        return canvas.tokens

    def fresh() -> BlockSession:
        return BlockSession(FakeModel(32, block_length=8), n_ctx=256, n_seq=2, n_threads=1)

    session = fresh()
    written(session, 4)
    assert written(session, 8) == written(fresh(), 8)


@pytest.mark.parametrize("options", [{"temperature": 1e46}, {"temperature": 1e7}])
def test_the_hottest_temperatures_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Canvas(TOKENS, **parts(**options))


def test_the_coldest_order_is_that_of_the_surest() -> None:
    def order(alg_temp: float) -> list[int]:
        canvas = Canvas([1, *[31] * 8], **parts(rule=make_rule("confidence", alg_temp=alg_temp), steps=8))
        decoded(canvas)
        return canvas.settled_at

    assert order(1e-309) == order(1e-100) == order(0.0)
