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
from hoshikage.gguf.header import Array, Header, TensorInfo
from hoshikage.gguf.judge import LAYERS_MAX
from hoshikage.gguf.split import other_parts

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
    state: int  # of a sequence, where the memory is a state
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
    n_used = max(1, header.whole(f"{header.architecture}.expert_used_count") or 1)
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
        n_head=max(numbers.heads, default=1),
        n_q=max(numbers.heads, default=1) * numbers.key_length,
        kv=() if is_native else tuple((n * numbers.key_length, n * numbers.value_length) for n in numbers.kv_heads),
        n_ff=numbers.n_ff,
        n_used=n_used,
        operand=max((operand_of(tensor, n_used) for tensor in tensors), default=0),
        state=numbers.state,
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


class Numbers:
    """The keys of a header that sizes depend on, by the names that all architectures share."""

    def __init__(self, header: Header, n_layer: int) -> None:
        self._header = header
        self._n_layer = n_layer
        self.n_embd = self.whole("embedding_length")
        self.heads = self.each("attention.head_count")
        self.kv_heads = self.each("attention.head_count_kv") or self.heads
        head_size = self.n_embd // max(1, *self.heads) if self.heads else 0
        self.key_length = self.whole("attention.key_length") or head_size
        self.value_length = self.whole("attention.value_length") or head_size

    @property
    def n_ff(self) -> int:
        """The wider of a dense layer's and of all experts' at work, for one of which it is meant then."""
        dense, expert = max(self.each("feed_forward_length"), default=0), self.whole("expert_feed_forward_length")
        n_used = self.whole("expert_used_count")
        return max(expert or dense, dense // n_used) if n_used else dense

    @property
    def state(self) -> int:
        """What a state-space model keeps of a sequence, as F32."""
        inner, d_state = self.whole("ssm.inner_size"), self.whole("ssm.state_size")
        conv = max(0, self.whole("ssm.conv_kernel") - 1) * (inner + 2 * self.whole("ssm.group_count") * d_state)
        wkv = self.whole("wkv.head_size")
        return 4 * self._n_layer * (conv + d_state * inner + (wkv + 2) * self.n_embd * bool(wkv))

    def whole(self, name: str) -> int:
        return max(0, self._header.whole(f"{self._header.architecture}.{name}") or 0)

    def each(self, name: str) -> list[int]:
        """A number for each layer; none where the key is missing."""
        entry = self._header.fields.get(f"{self._header.architecture}.{name}")
        if entry is None:
            return []
        if isinstance(entry.value, Array):
            return [max(0, number) for number in entry.value.tolist()[: self._n_layer] if isinstance(number, int)]
        return [self.whole(name)] * self._n_layer
