"""Passes over a part of the canvas on tiny models: NumPy with the same cache, and the oracle with the same plan."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hoshikage._board import Board
from hoshikage._core import Model, Session
from hoshikage._raw import fault_of_block_passes
from hoshikage.errors import DecodeError, ParameterError
from tests.cases import CACHING
from tests.conftest import TinyModel
from tests.engine import NEAR_TIE, assert_same, make_canvas, result_of, run_all
from tests.forward import CachedNetwork
from tests.reference import Result, decode
from tests.tiny import DIFFUSION

FLOAT32: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": "off"}
TOLERANCE = 1e-4  # of the largest logit; measured: 4e-6
N = 40
# What plans do, one after the other: all, a suffix, a block, a block and its margins, a longer canvas, a shorter one.
SPANS = (
    (0, 24, 24), (8, 24, 24), (8, 16, 24), (8, 16, 24), (5, 19, 24), (16, N, N), (20, 28, N), (20, 32, 32), (3, 9, 32),
)  # fmt: skip


class ByHand:
    """An open session as the oracle's network."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(
        self, canvases: NDArray[Any], lo: int = 0, hi: int | None = None, end: int | None = None
    ) -> NDArray[np.float32]:
        n = canvases.shape[1]
        end = n if end is None else end
        hi = end if hi is None else hi
        out = np.full((len(canvases), n, self.session.forward.n_vocab), np.nan, np.float32)
        for stream, canvas in enumerate(canvases):
            out[stream, lo:hi] = self.session.pass_by_hand(canvas, lo, hi, end, stream)
        return out


@pytest.mark.parametrize("architecture", DIFFUSION)
def test_parts_of_a_canvas_equal_an_independent_forward_pass(architecture: str, tiny_model: TinyModel) -> None:
    """The canvas changes between the passes, so that what is cached is old; two streams change in their own ways."""
    path = tiny_model(architecture, seed=5)
    dice = np.random.default_rng(7)
    network = CachedNetwork(path)
    with Model(path) as model, Session(model, n_ctx=256, n_seq=2, n_threads=1, **FLOAT32) as session:
        canvases = dice.integers(0, 290, (2, N))
        for lo, hi, end in SPANS:
            canvases[:, dice.integers(0, N, 6)] = dice.integers(0, 290, (2, 6))
            expected = network(canvases, lo, hi, end)[:, lo:hi]
            got = ByHand(session)(canvases, lo, hi, end)[:, lo:hi]
            assert np.max(np.abs(got - expected)) <= TOLERANCE * np.max(np.abs(expected)), (lo, hi, end)
            if lo > 0:  # and old it is
                fresh = CachedNetwork(path)(canvases[:, :end])[:, lo:hi]
                assert np.max(np.abs(got - fresh)) > 100 * TOLERANCE * np.max(np.abs(expected))


def requests_for(model: Model, plan: str) -> list[tuple[list[int], dict[str, Any]]]:
    """Prompts and answers in all sizes, with guidance, gaps and the numbers of plans."""
    dice = random.Random(plan + model.architecture)
    requests = []
    for algorithm in ("low_confidence", "entropy", "origin", "maskgit_plus"):
        suffix = [dice.randrange(290) for _ in range(dice.choice((0, 0, 5)))]
        options = {
            "algorithm": algorithm, "schedule": dice.choice(("block", "timestep")), "steps": dice.randrange(4, 20),
            "block_length": dice.choice((4, 8)), "cfg_scale": dice.choice((0.0, 0.0, 1.0)), "shift": model.shift,
            "temperature": dice.choice((0.0, 0.7)), "seed": dice.getrandbits(64),
            "eos_id": 7, "eot_id": 9, "logit_bias": {7: 3.0}, "plan": plan,
            "plan_options": {
                "refresh": dice.choice((0, 3)), "whole": dice.random() < 0.5, "window": dice.choice((4, 99)),
            },
        }  # fmt: skip
        prompt = [dice.randrange(290) for _ in range(dice.choice((1, 12)))]
        requests.append((prompt + [model.mask_id] * dice.randrange(10, 30) + suffix, options))
    return requests


@pytest.mark.parametrize("plan", CACHING)
@pytest.mark.parametrize("architecture", DIFFUSION)
def test_plans_settle_what_the_oracle_settles(architecture: str, plan: str, tiny_model: TinyModel) -> None:
    """The oracle is given the engine's logits, pass by pass; alone and four together."""
    with Model(tiny_model(architecture)) as model:
        requests = requests_for(model, plan)
        expected: list[Result] = []
        with Session(model, n_ctx=512, n_seq=8, n_threads=1, **FLOAT32) as session:
            for tokens, recipe in requests:
                expected.append(decode(ByHand(session), tokens, model.mask_id, **recipe))
                session.forget()
            alone = [make_canvas(tokens, model.mask_id, **recipe) for tokens, recipe in requests]
            for canvas in alone:
                run_all(session, [canvas])
            together = [make_canvas(tokens, model.mask_id, **recipe) for tokens, recipe in requests]
            run_all(session, together)
        decided = [i for i, result in enumerate(expected) if result.margin >= NEAR_TIE]
        assert len(decided) >= len(requests) - 1
        for i in decided:
            assert_same(result_of(alone[i]), expected[i])
            assert_same(result_of(together[i]), expected[i])


@pytest.mark.parametrize("cache", [FLOAT32, {"type_k": "f16", "type_v": "f16"}, {"type_k": "q8_0", "type_v": "q8_0"}])
@pytest.mark.parametrize("architecture", DIFFUSION)
def test_the_proof_passes_where_block_passes_work(
    architecture: str, cache: dict[str, Any], tiny_model: TinyModel
) -> None:
    shape = {"n_embd": 128} if architecture != "rnd1" else {"head_size": 32}  # 8-bit keys want heads of 32
    with Model(tiny_model(architecture, **shape)) as model, Session(model, n_ctx=256, n_threads=1, **cache) as session:
        assert fault_of_block_passes(session) is None


def test_the_proof_fails_on_a_context_without_a_cache(tiny_model: TinyModel) -> None:
    with Model(tiny_model("llada"), retag=False) as model, Session(model, n_ctx=256, n_threads=1) as session:
        assert "keeps nothing" in str(fault_of_block_passes(session))
        with pytest.raises(ParameterError, match="whole canvas"):
            session.pass_by_hand([1, 2, 3], 1, 3, 3)


def test_what_the_cache_does_not_hold_is_an_error(tiny_model: TinyModel) -> None:
    """llama.cpp would compute with a hole, or end the process."""
    with Model(tiny_model("llada")) as model, Session(model, n_ctx=256, n_threads=1) as session:
        with pytest.raises(DecodeError):
            session.pass_by_hand(range(20), 4, 8, 20)
        session.pass_by_hand(range(20), 0, 10, 10)
        for lo, hi, end in ((4, 8, 12), (11, 20, 20)):
            with pytest.raises(DecodeError):
                session.pass_by_hand(range(20), lo, hi, end)
        session.pass_by_hand(range(20), 10, 20, 20)
        session.pass_by_hand(range(20), 4, 8, 20)


def test_the_proof_fails_where_a_block_sees_something_else(tiny_model: TinyModel) -> None:
    """Such as a llama.cpp that computes everything again, or that leaves the old cells of the block in place."""
    with Model(tiny_model("dream")) as model, Session(model, n_ctx=256, n_seq=2, n_threads=1, **FLOAT32) as session:

        class Lying:
            forward = session.forward
            forget = session.forget

            def pass_by_hand(
                self, ids: list[int], lo: int, hi: int, end: int, board: Board | None
            ) -> NDArray[np.float32]:
                if hi == end:
                    return session.pass_by_hand(ids, lo, hi, end, board=board)
                return session.pass_by_hand(ids, 0, end, end, 1, board=board)[lo:hi]

        assert "differ" in str(fault_of_block_passes(Lying()))  # type: ignore[arg-type]


@pytest.mark.parametrize("plan", ["full", "dual", "window"])
def test_a_canvas_that_changes_its_length_settles_what_the_oracle_settles(plan: str, tiny_model: TinyModel) -> None:
    """What is cached of a longer canvas is gone when it is shorter, and the other way round."""
    recipe: dict[str, Any] = {
        "algorithm": "entropy", "schedule": "adaptive", "steps": 9, "shift": True, "eos_id": 7, "expand_id": 5,
        "gaps": ((6, 10, 0, 16), (12, 14, 1, 9)), "logit_bias": {5: 8.0, 7: 7.0}, "temperature": 0.8, "plan": plan,
    }  # fmt: skip
    with Model(tiny_model("dream")) as model, Session(model, n_ctx=256, n_threads=1, **FLOAT32) as session:
        tokens = [*range(20, 26), *[model.mask_id] * 4, 30, 31, *[model.mask_id] * 2, 32]
        lengths = set()
        for seed in range(6):
            expected = decode(ByHand(session), tokens, model.mask_id, **recipe, seed=seed)
            session.forget()
            canvas = make_canvas(tokens, model.mask_id, **recipe, seed=seed)
            run_all(session, [canvas])
            if expected.margin >= NEAR_TIE:
                assert_same(result_of(canvas), expected)
            lengths.add(canvas.n)
        assert len(lengths) > 2
