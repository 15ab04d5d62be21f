"""Block models on stock llama.cpp: tiny files settle what the oracle settles on an independent forward pass, which has
a block mask and no cache."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hoshikage._block import BlockCanvas, BlockSession
from hoshikage._core import Model, Session
from hoshikage.gguf import Wish
from tests.blocks import RULES, make_block_canvas, result_of
from tests.conftest import TinyModel
from tests.engine import assert_same, make_canvas, run_all
from tests.forward import BlockNetwork, block_mask, forward
from tests.reference import Result, decode
from tests.reference_block import decode_blocks
from tests.tiny import CARRIERS, MASK
from tests.tiny.bailing import write_bailing

FLOAT32: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": "off"}
TOLERANCE = 1e-4  # of the largest logit; measured: 4e-6
DECIDED = 2e-5  # a margin that float32 cannot turn, through all layers
LENGTHS = (4, 8, 16, 32)
Request = tuple[list[int], dict[str, Any]]
Carrier = Callable[[str], Path]


def block_model(path: Any, length: int, shift: str = "off") -> Model:
    return Model(path, wish=Wish(kind="block", mask_token=MASK, block_length=length, shift=shift))


ALL = (*CARRIERS, "bailingmoe2")


@pytest.fixture(scope="session")
def carrier(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Carrier:
    """The path of a tiny file of an architecture that block models come as."""
    bailing = write_bailing(tmp_path_factory.mktemp("bailing") / "tiny.gguf", mask_text=MASK, seed=3)
    return lambda name: bailing if name == "bailingmoe2" else tiny_model(name, seed=3)


@pytest.mark.parametrize("length", [1, 5, 8])
@pytest.mark.parametrize("architecture", ALL)
def test_logits_equal_a_forward_pass_with_a_block_mask(architecture: str, length: int, carrier: Carrier) -> None:
    path = carrier(architecture)
    ids = np.random.default_rng(1).integers(0, 290, 27)
    with block_model(path, length) as model, BlockSession(model, n_ctx=256, n_threads=1, **FLOAT32) as session:
        got = session.logits(ids)[0]
    expected = forward(path, ids, causal=False, allowed=block_mask(len(ids), length))
    assert np.max(np.abs(got - expected)) <= TOLERANCE * np.max(np.abs(expected))
    causal = forward(path, ids, causal=True)
    assert length == 1 or np.max(np.abs(causal - expected)) > 100 * TOLERANCE * np.max(np.abs(expected))


def requests_for(architecture: str, length: int, rules: tuple[str, ...], shift: bool) -> list[Request]:
    """Every rule, and a prompt of every remainder."""
    dice = random.Random(f"{architecture} {length} {shift}")
    requests = []
    for number in range(max(len(rules), length)):
        rule = rules[number % len(rules)]
        # Not an empty one: rows of masks alone are all the same, and any of them is the surest.
        n_prompt = number % length + length * dice.choice((0, 1)) + shift or length
        prompt = [dice.randrange(290) for _ in range(n_prompt)]
        requests.append((prompt, {
            "algorithm": rule, "schedule": dice.choice(("denoising", "adaptive")), "length": length,
            "steps": dice.choice((2, 3) if length > 8 else (0, 2)), "max_tokens": dice.randrange(1, 2 * min(length, 8)),
            "sub_block": dice.choice((0, length // 2)), "temperature": dice.choice((0.0, 0.7)),
            "seed": dice.getrandbits(64), "shift": shift, "eos_id": 7, "eot_id": 9, "stop_ids": (7, 9),
            "rule_options": {"threshold": 0.3} if rule in ("threshold", "joint_threshold") else {},
        }))  # fmt: skip
    return requests


@pytest.mark.parametrize("shift", [False, True], ids=["", "shifted"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("architecture", ALL)
def test_tokens_equal_the_oracles(architecture: str, length: int, shift: bool, carrier: Carrier) -> None:
    """Alone, and four together; with what the others have left in the cache as well."""
    path = carrier(architecture)
    with block_model(path, length, "on" if shift else "off") as model:
        requests = requests_for(architecture, length, RULES, shift)
        mask_id, network = model.mask_id, BlockNetwork(path, length)
        expected: list[Result] = [decode_blocks(network, prompt, mask_id, **options) for prompt, options in requests]
        canvases = [make_block_canvas(prompt, mask_id, **options) for prompt, options in requests]
        together = [make_block_canvas(prompt, mask_id, **options) for prompt, options in requests]
        with BlockSession(model, n_ctx=512, n_seq=1, n_threads=1, **FLOAT32) as session:
            for canvas in canvases:
                run_all(session, [canvas])
        with BlockSession(model, n_ctx=1024, n_seq=4, n_threads=1, **FLOAT32) as session:
            for first in range(0, len(together), 4):
                run_all(session, together[first : first + 4])
    decided = [i for i, result in enumerate(expected) if result.margin >= DECIDED]
    assert len(decided) >= 0.7 * len(requests)
    for i in decided:
        assert_same(result_of(canvases[i]), expected[i])
        assert result_of(together[i]).tokens.tolist() == expected[i].tokens.tolist()


def test_a_second_turn_computes_rows_only_for_what_is_new(tiny_model: TinyModel) -> None:
    options: dict[str, Any] = {
        "algorithm": "threshold", "schedule": "adaptive", "steps": 0, "max_tokens": 20, "length": 8,
    }  # fmt: skip
    prompt = list(range(50))
    with block_model(tiny_model("qwen3"), 8) as model:

        def canvas(tokens: list[int]) -> BlockCanvas:
            return make_block_canvas(tokens, model.mask_id, **options)

        with BlockSession(model, n_ctx=512, n_seq=2, n_threads=1, **FLOAT32) as session:
            first = canvas(prompt)
            run_all(session, [first])
            longer = [*first.tokens[:70], 1, 2, 3]
            second, fresh = canvas(longer), canvas(longer)
            run_all(session, [second])
        with BlockSession(model, n_ctx=512, n_seq=2, n_threads=1, **FLOAT32) as session:
            run_all(session, [fresh])
    assert second.tokens == fresh.tokens
    assert second.n_reused == first.clean == 64  # the last block was never computed once more
    assert fresh.n_rows - second.n_rows == 64


@pytest.mark.parametrize("architecture", CARRIERS)
def test_a_causal_architecture_as_a_masked_model(architecture: str, tiny_model: TinyModel) -> None:
    """Bidirectional over the whole canvas, with the cache that it has anyway."""
    path = tiny_model(architecture, seed=5)
    ids = np.random.default_rng(2).integers(0, 290, 30)
    wish = Wish(kind="masked", mask_token=MASK)
    with Model(path, wish=wish) as model, Session(model, n_ctx=256, n_threads=1, **FLOAT32) as session:
        assert (model.kind.name, model.native, session.forward.caches) == ("masked", False, True)
        got = session.logits(ids)[0]
        expected = forward(path, ids, causal=False)
        assert np.max(np.abs(got - expected)) <= TOLERANCE * np.max(np.abs(expected))

        def network(canvases: Any) -> Any:
            return np.stack([forward(path, canvas, causal=False) for canvas in canvases])

        tokens = [*ids[:9].tolist(), *[model.mask_id] * 20]
        options: dict[str, Any] = {
            "algorithm": "low_confidence", "schedule": "block", "steps": 10, "block_length": 10,
        }  # fmt: skip
        oracle = decode(network, tokens, model.mask_id, **options)
        canvas = make_canvas(tokens, model.mask_id, **options)
        run_all(session, [canvas])
    assert oracle.margin >= DECIDED
    assert canvas.tokens == oracle.tokens.tolist()


@pytest.mark.parametrize("n_seq", [1, 2, 3, 5, 8, 13, 16])
def test_a_pass_takes_as_many_blocks_as_there_is_room_for(n_seq: int, tiny_model: TinyModel) -> None:
    """Whatever numbers their sequences have: what is kept of a long prompt makes no answer another one."""
    path = tiny_model("qwen3")
    options: dict[str, Any] = {"algorithm": "threshold", "schedule": "adaptive", "steps": 0, "max_tokens": 12}
    with block_model(path, 8) as model:
        network, prompts = BlockNetwork(path, 8), [list(range(first, first + 90)) for first in range(n_seq)]
        with BlockSession(model, n_ctx=128 * n_seq, n_seq=n_seq, n_threads=1, **FLOAT32) as session:
            assert session.forward.n_rungs == min(8, 512 // (8 * n_seq), 16 * n_seq)
            canvases = [make_block_canvas(prompt, model.mask_id, length=8, **options) for prompt in prompts]
            run_all(session, canvases)
            together = session.forward.n_rungs
        expected = [
            decode_blocks(network, prompt, model.mask_id, length=8, together=together, **options) for prompt in prompts
        ]
        decided = [(one, canvas) for one, canvas in zip(expected, canvases, strict=True) if one.margin >= DECIDED]
        assert len(decided) >= 0.7 * n_seq
        for one, canvas in decided:
            assert_same(result_of(canvas), one)
