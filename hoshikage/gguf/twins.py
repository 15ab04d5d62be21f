"""A diffusion model under the header of its causal twin: the same weights, and a KV cache.

llama.cpp gives the diffusion architectures no memory. Their twins compute the same logits once attention is made
bidirectional again; where a file holds something that the twin would use and the original ignores, it stays as it is.
Only the header is made anew; the data is served from the file where it lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import Literal, TypeAlias

from hoshikage.gguf.header import (
    BOOL,
    LENGTH,
    RETAGGED_FROM,
    STRING,
    TENSOR_TYPES,
    TWINS,
    U32,
    Header,
    TensorInfo,
)  # fmt: skip
from hoshikage.gguf.reader import padded

# Tensors that the original loads and ignores, while its twin would compute with them.
TWIN_USES = {
    "llada": ("rope_freqs.weight", "attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"),
    "dream": ("output.bias",),
}

# hy_v3 wants a shared expert: one of zeros adds nothing. Its type has the range of the activations, so that zero
# times the largest of them is zero. Its router is set to the original's: softmax, weights neither normed nor scaled.
SHARED_FF = 32
ZEROS_TYPE = TENSOR_TYPES[0]
HY_V3_KEYS = {
    "expert_shared_feed_forward_length": pack("<II", U32, SHARED_FF),
    "expert_gating_func": pack("<II", U32, 1),
    "expert_weights_norm": pack("<I?", BOOL, False),
}
HY_V3_DEFAULTS = {"expert_feed_forward_length": pack("<II", U32, 0)}  # must be there; 0 means the same to both
HY_V3_DROPS = frozenset({"expert_weights_scale"})

Part: TypeAlias = tuple[Literal["file"], int, int] | tuple[Literal["zeros"], int]


@dataclass(frozen=True)
class Retagged:
    """The bytes to serve: `header_bytes`, then the parts in order: ("file", offset, length) or ("zeros", length)."""

    architecture: str
    header_bytes: bytes
    parts: tuple[Part, ...]


def retag(header: Header) -> Retagged | None:
    """None: not a diffusion model, one in several files, or one that its twin would not compute alike."""
    twin = TWINS.get(header.architecture)
    if twin is None or header.split[1] > 1 or not computes_alike(header):
        return None
    zeros = shared_expert(header) if twin == "hy_v3" else []
    values = renamed(header, twin)
    written = written_header(header, values, zeros)
    parts: list[Part] = [("file", header.data_offset, header.data_size)]
    if zeros:
        parts.append(("zeros", zeros[-1].offset + zeros[-1].n_bytes - header.data_size))
    return Retagged(twin, written, tuple(parts))


def computes_alike(header: Header) -> bool:
    name = header.architecture
    uses = TWIN_USES.get(name, ())
    layered = tuple(f".{tensor}" for tensor in uses)
    if any(tensor.name in uses or tensor.name.endswith(layered) for tensor in header.tensors):
        return False
    if header.whole(f"{name}.nextn_predict_layers"):
        return False
    return name != "llada" or not header.whole("llada.expert_count")


def renamed(header: Header, twin: str) -> dict[str, bytes]:
    """Type and value of each key, byte for byte, under the twin's names; its own keys would now be read: dropped."""
    own, theirs = f"{header.architecture}.", f"{twin}."
    values = {}
    for key, entry in header.fields.items():
        if key.startswith(own):
            values[theirs + key.removeprefix(own)] = header.raw[entry.start : entry.end]
        elif not key.startswith(theirs):
            values[key] = header.raw[entry.start : entry.end]
    values["general.architecture"] = pack("<I", STRING) + text(twin)
    values[RETAGGED_FROM] = pack("<I", STRING) + text(header.architecture)
    values.pop(theirs + "attention.causal", None)
    if twin == "hy_v3":
        for name in HY_V3_DROPS:
            values.pop(theirs + name, None)
        values |= {theirs + name: value for name, value in HY_V3_KEYS.items()}
        values = {theirs + name: value for name, value in HY_V3_DEFAULTS.items()} | values
    return values


def shared_expert(header: Header) -> list[TensorInfo]:
    """Its tensors, to stand behind the file's own."""
    n_embd = header.whole(f"{header.architecture}.embedding_length") or 0
    offset = padded(header.data_size, header.alignment)
    tensors = []
    for layer in range(header.n_layer):
        for name, dims in (("gate", (n_embd, SHARED_FF)), ("up", (n_embd, SHARED_FF)), ("down", (SHARED_FF, n_embd))):
            n_bytes = n_embd * SHARED_FF * ZEROS_TYPE.size
            tensors.append(TensorInfo(f"blk.{layer}.ffn_{name}_shexp.weight", dims, ZEROS_TYPE, offset, n_bytes))
            offset = padded(offset + n_bytes, header.alignment)
    return tensors


def written_header(header: Header, values: dict[str, bytes], more: list[TensorInfo]) -> bytes:
    start, end = header.tensor_span
    written = b"".join([
        pack("<4sIQQ", b"GGUF", header.version, len(header.tensors) + len(more), len(values)),
        *(text(key) + value for key, value in values.items()),
        header.raw[start:end],
        *(tensor_info(tensor) for tensor in more),
    ])  # fmt: skip
    return written + bytes(padded(len(written), header.alignment) - len(written))


def text(string: str) -> bytes:
    raw = string.encode()
    return LENGTH.pack(len(raw)) + raw


def tensor_info(tensor: TensorInfo) -> bytes:
    n = len(tensor.dims)
    return text(tensor.name) + pack(f"<I{n}QIQ", n, *tensor.dims, tensor.type.number, tensor.offset)
