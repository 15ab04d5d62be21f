"""Random weights, scaled so that attention is uneven, experts differ and logits spread over about ten."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tests.tiny.shape import MOE, QK_NORM, QKV_BIAS, Shape

Tensor = NDArray[np.float32]


class Dice:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def matrix(self, *shape: int, gain: float = 1.0) -> Tensor:
        """[..., n_out, n_in], rows that keep the size of a normalised input."""
        values: Tensor = (self.rng.standard_normal(shape) * gain / np.sqrt(shape[-1])).astype(np.float32)
        return values

    def norm(self, n: int) -> Tensor:
        return self.rng.uniform(0.7, 1.3, n).astype(np.float32)

    def bias(self, n: int) -> Tensor:
        return (self.rng.standard_normal(n) * 0.5).astype(np.float32)


def tensors(shape: Shape) -> Iterator[tuple[str, Tensor]]:
    """(name, values) of every tensor, in the file's order; NumPy shapes, the reverse of ggml's."""
    dice = Dice(shape.seed)
    yield "token_embd.weight", dice.matrix(shape.n_vocab, shape.n_embd, gain=2.5)
    layer: list[tuple[str, Tensor]] = []
    for i in range(shape.n_layer):
        if not (layer and shape.alike):
            layer = [*attention(shape, dice), *(experts if shape.architecture in MOE else dense)(shape, dice)]
        for name, values in layer:
            yield f"blk.{i}.{name}", values
    yield "output_norm.weight", dice.norm(shape.n_embd)
    if not shape.tied:
        yield "output.weight", dice.matrix(shape.n_vocab, shape.n_embd, gain=2.5)


def attention(shape: Shape, dice: Dice) -> Iterator[tuple[str, Tensor]]:
    n_q, n_kv = shape.n_head * shape.n_embd_head, shape.n_head_kv * shape.n_embd_head
    yield "attn_norm.weight", dice.norm(shape.n_embd)
    for name, n_out, gain in (("q", n_q, 1.6), ("k", n_kv, 1.6), ("v", n_kv, 1.0)):
        yield f"attn_{name}.weight", dice.matrix(n_out, shape.n_embd, gain=gain)
        if shape.architecture in QKV_BIAS:
            yield f"attn_{name}.bias", dice.bias(n_out)
    if shape.architecture in QK_NORM:
        yield "attn_q_norm.weight", dice.norm(shape.n_embd_head) * np.float32(1.6)
        yield "attn_k_norm.weight", dice.norm(shape.n_embd_head) * np.float32(1.6)
    yield "attn_output.weight", dice.matrix(shape.n_embd, n_q)


def dense(shape: Shape, dice: Dice) -> Iterator[tuple[str, Tensor]]:
    yield "ffn_norm.weight", dice.norm(shape.n_embd)
    yield "ffn_gate.weight", dice.matrix(shape.n_ff, shape.n_embd)
    yield "ffn_up.weight", dice.matrix(shape.n_ff, shape.n_embd)
    yield "ffn_down.weight", dice.matrix(shape.n_embd, shape.n_ff)


def experts(shape: Shape, dice: Dice) -> Iterator[tuple[str, Tensor]]:
    yield "ffn_norm.weight", dice.norm(shape.n_embd)
    yield "ffn_gate_inp.weight", dice.matrix(shape.n_expert, shape.n_embd, gain=1.5)
    yield "ffn_gate_exps.weight", dice.matrix(shape.n_expert, shape.n_ff, shape.n_embd)
    yield "ffn_up_exps.weight", dice.matrix(shape.n_expert, shape.n_ff, shape.n_embd)
    yield "ffn_down_exps.weight", dice.matrix(shape.n_expert, shape.n_embd, shape.n_ff)
