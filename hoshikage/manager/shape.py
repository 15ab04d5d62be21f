"""What of a model decides how much memory it takes: numbers of its header, nothing else. Any thread."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod
from pathlib import Path

from hoshikage import gguf
from hoshikage.gguf.header import Header, TensorInfo
from hoshikage.gguf.judge import LAYERS_MAX
from hoshikage.gguf.split import other_parts
from hoshikage.manager.numbers import Numbers

LAYER = re.compile(r"blk\.(\d+)\.")
# What a vector becomes before it is multiplied with a matrix of some type, bytes of an element: the type itself where
# that is a float, and else one of three forms of 8 bits, of which this is the largest.
OPERAND_BYTES = {"f32": Fraction(0), "f16": Fraction(2), "bf16": Fraction(2)}
QUANTISED_OPERAND = Fraction(292, 256)
REPACKED = frozenset({"q4_0", "q4_K", "q2_K", "q3_K", "q5_K", "q6_K", "q8_0", "iq4_nl", "mxfp4"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model in numbers; bytes where nothing else is said."""

    kind: str  # masked, block or causal
    n_layer: int
    layers: tuple[int, ...]  # the weights of each
    input: int  # the token embeddings, which stay on the host
    output: int  # what turns the last layer into logits
    repacked: int  # weights of formats that llama.cpp writes anew for the CPU
    data: int  # all weights, as they lie in the file
    n_params: int
    is_native: bool  # a diffusion model that runs without a cache
    is_private: bool  # it is read into memory of its own, and not mapped
    n_ctx_train: int
    n_vocab: int
    n_embd: int
    n_head: int
    n_q: int  # elements of a position's queries
    kv: tuple[tuple[int, int], ...]  # elements of a cached position, keys and values, in each layer
    n_ff: int  # the widest feed-forward, of one expert where there are experts
    n_used: int  # experts at work; 1 without experts
    operand: int  # of a position, written anew as the matrix wants it that takes most
    states: tuple[int, ...]  # of a sequence, in each layer, where the memory is a state
    n_mixed: int = 0  # elements of a position that a layer with a state computes from
    is_lightning: bool = False  # such layers score each pair of a pass's positions
    block_length: int = 0  # of a block model


def shape_of(path: Path, wish: gguf.Wish | None = None) -> Shape:
    """The numbers of a sound model file of which somebody said more; raises ModelFileError, ParameterError."""
    header = gguf.inspect(path)
    return shape_from(header, [header, *other_parts(header)], wish)


def shape_from(header: Header, parts: Iterable[Header], wish: gguf.Wish | None = None) -> Shape:
    kind = gguf.kind_of(header, wish)
    tensors = [tensor for part in parts for tensor in part.tensors]
    layers, elsewhere = weights_by_layer(tensors)
    numbers = Numbers(header, len(layers))
    retagged = gguf.retag(header)
    is_native = header.is_diffusion and retagged is None and not header.is_retagged
    added = sum(part[1] for part in retagged.parts if part[0] == "zeros") if retagged else 0
    embeddings = elsewhere.pop("token_embd.weight", 0)
    n_used = max(1, numbers.n_used)
    return Shape(
        kind=kind.name,
        block_length=kind.block_length,
        n_layer=len(layers),
        layers=tuple(n_bytes + added // len(layers) for n_bytes in layers),
        input=embeddings,
        # Tied embeddings are the output as well, and a GPU gets its own copy of them.
        output=sum(elsewhere.values()) + (0 if "output.weight" in elsewhere else embeddings),
        repacked=sum(tensor.n_bytes for tensor in tensors if tensor.type.name in REPACKED),
        data=sum(tensor.n_bytes for tensor in tensors) + added,
        n_params=sum(prod(tensor.dims) for tensor in tensors),
        is_native=is_native,
        is_private=retagged is not None,
        n_ctx_train=header.n_ctx_train,
        n_vocab=max(1, header.n_vocab),
        n_embd=numbers.n_embd,
        n_head=numbers.n_head,
        n_q=numbers.n_head * numbers.key_length,
        kv=() if is_native else numbers.kv,
        n_ff=numbers.n_ff,
        n_used=n_used,
        operand=max((operand_of(tensor, n_used) for tensor in tensors), default=0),
        states=numbers.states,
        n_mixed=numbers.n_mixed,
        is_lightning=numbers.is_lightning,
    )


def operand_of(tensor: TensorInfo, n_used: int) -> int:
    """Bytes of a position that this matrix is multiplied with, in the form that ggml gives it for that.

    Experts' last matrices take a vector of each expert at work, and all of theirs a list of who has which position.
    """
    if len(tensor.dims) < 2:
        return 0
    of_experts = "_exps." in tensor.name and len(tensor.dims) > 2
    n_vectors = n_used if of_experts and "down" in tensor.name else 1
    listed = 8 * tensor.dims[2] * n_used if of_experts else 0
    return ceil(n_vectors * tensor.dims[0] * OPERAND_BYTES.get(tensor.type.name, QUANTISED_OPERAND)) + listed


def weights_by_layer(tensors: Iterable[TensorInfo]) -> tuple[list[int], dict[str, int]]:
    """The bytes of each layer, and of every tensor that is in none."""
    layers: Counter[int] = Counter()
    elsewhere: dict[str, int] = {}
    for tensor in tensors:
        # A file may name any number, and a list is made of as many.
        if (found := LAYER.match(tensor.name)) and int(found[1]) < LAYERS_MAX:
            layers[int(found[1])] += tensor.n_bytes
        else:
            elsewhere[tensor.name] = tensor.n_bytes
    return [layers[i] for i in range(max(layers, default=-1) + 1)], elsewhere
