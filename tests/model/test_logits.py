"""The engine's logits on tiny models: against an independent forward pass, and with and without the cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hoshikage._core import Model, Session
from tests.conftest import TinyModel
from tests.forward import forward
from tests.tiny import ARCHITECTURES, DIFFUSION, Shape

# Attention in float32 throughout: flash attention rounds keys and values to 16 bits, whatever the cache holds.
FLOAT32: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": "off"}
FLASH: dict[str, Any] = {"type_k": "f16", "type_v": "f16", "flash_attn": "on"}
FLASH_OVER_F32 = FLASH | {"type_k": "f32", "type_v": "f32"}
TOLERANCE = 1e-4  # of the largest logit; measured: 3e-6

LAYOUTS: dict[str, dict[str, Any]] = {
    "a key per head": {"n_head": 4, "n_head_kv": 4},
    "grouped keys": {"n_head": 4, "n_head_kv": 2},
    "one key for all": {"n_head": 4, "n_head_kv": 1},
    "heads wider than the model": {"n_head": 3, "n_head_kv": 1, "head_size": 32},
    "three layers of six heads": {"n_layer": 3, "n_embd": 96, "n_head": 6, "n_head_kv": 3, "n_ff": 64},
    "tied output": {"tied": True},
    "other experts and base": {"n_expert": 5, "n_expert_used": 3, "rope_base": 500_000.0},
}
SERVED_AS = {"llada": "llama", "dream": "qwen2", "llada-moe": "hy_v3", "rnd1": "qwen3moe"}


def shapes() -> list[Any]:
    """Every architecture in every layout that it can have."""
    pairs = []
    for architecture in ARCHITECTURES:
        for name, layout in LAYOUTS.items():
            try:
                Shape(architecture, **layout)
            except ValueError:
                continue
            pairs.append(pytest.param(architecture, layout, id=f"{architecture}, {name}"))
    return pairs


def ids_for(model: Model, n: int) -> list[int]:
    """A prompt of a third, then masks; for a causal model, text."""
    tokens = [(37 * i + 11) % 250 for i in range(n)]
    return tokens if model.mask_id < 0 else tokens[: n // 3] + [model.mask_id] * (n - n // 3)


def engine_logits(model: Model, ids: list[int], **options: Any) -> NDArray[np.float32]:
    with Session(model, n_ctx=256, n_threads=1, **{**FLOAT32, **options}) as session:
        logits: NDArray[np.float32] = session.logits(ids)[0]
    return logits


def relative_error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.max(np.abs(got - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize(("architecture", "layout"), shapes())
def test_logits_equal_an_independent_forward_pass(
    architecture: str, layout: dict[str, Any], tiny_model: TinyModel
) -> None:
    path = tiny_model(architecture, seed=5, **layout)
    with Model(path) as model:
        assert model.served_as == SERVED_AS.get(architecture, architecture)
        ids = ids_for(model, 45)
        assert relative_error(engine_logits(model, ids), forward(path, ids)) <= TOLERANCE


@pytest.mark.parametrize(("architecture", "layout"), [pair for pair in shapes() if pair.values[0] in DIFFUSION])
def test_retagged_logits_are_the_native_ones(architecture: str, layout: dict[str, Any], tiny_model: TinyModel) -> None:
    """To the bit with flash attention; without, where the cache adds no padding (it grows by 32 positions)."""
    path = tiny_model(architecture, seed=5, **layout)
    with Model(path) as cached, Model(path, retag=False) as native:
        assert native.native and not cached.native

        def both(n: int, options: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            ids = ids_for(cached, n)
            return engine_logits(cached, ids, **options), engine_logits(native, ids, **options)

        for n, options in ((1, FLASH), (45, FLASH), (100, FLASH), (45, FLASH_OVER_F32), (32, FLOAT32), (96, FLOAT32)):
            assert np.array_equal(*both(n, options)), (n, options)
        assert relative_error(*both(45, FLOAT32)) < 5e-6
        assert relative_error(both(45, FLOAT32)[1], forward(path, ids_for(cached, 45))) <= TOLERANCE


@pytest.mark.parametrize("weights", ["F16", "Q8_0"])
@pytest.mark.parametrize("architecture", DIFFUSION)
def test_retagged_logits_are_the_native_ones_with_smaller_weights(
    architecture: str, weights: str, tiny_model: TinyModel
) -> None:
    path = tiny_model(architecture, weights=weights)
    with Model(path) as cached, Model(path, retag=False) as native:
        ids = ids_for(cached, 45)
        assert np.array_equal(engine_logits(cached, ids, **FLASH), engine_logits(native, ids, **FLASH))
        # ggml rounds the activations to the weights' type, which a forward pass in float64 does not
        assert relative_error(engine_logits(cached, ids), forward(path, ids)) < (0.01 if weights == "F16" else 0.5)


@pytest.mark.parametrize(
    ("architecture", "tied"), [("llada", False), ("llada", True), ("llada-moe", False), ("llama", True)]
)
def test_padding_is_left_out_and_rows_may_come_in_parts(architecture: str, tied: bool, tiny_model: TinyModel) -> None:
    path = tiny_model(architecture, tied=tied)
    with Model(path) as model, Session(model, n_ctx=256, n_rows=7, n_threads=1, **FLOAT32) as session:
        ids = np.full((2, 30), 9)
        mask = np.zeros((2, 30), bool)
        mask[0, 10:], mask[1, :17] = True, True
        ids[0, 10:], ids[1, :17] = ids_for(model, 20), ids_for(model, 17)
        logits = session.logits(ids, mask)
        assert logits.shape == (2, 30, model.n_vocab) and logits.dtype == np.float32
        assert np.isnan(logits[~mask]).all()
        for row, keep, got in zip(ids, mask, logits, strict=True):
            assert relative_error(got[keep], forward(path, row[keep])) <= TOLERANCE
