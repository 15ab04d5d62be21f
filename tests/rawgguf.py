"""GGUF files written byte by byte, so that a test can write what no sane writer would.

A `Draft` is a sound tiny header that a test changes before it asks for the bytes: keys hold (type, value) pairs,
arrays (ARRAY, item type, values), tensors [name, dims, type] or [name, dims, type, offset].
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tiny.shape import DIFFUSION

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
SIZES = {0: (1, 4), 1: (1, 2), 8: (32, 34), 26: (1, 4), 40: (64, 36)}  # f32, f16, q8_0, i32, nvfp4

N_VOCAB, N_EMBD, N_FF = 16, 64, 32


def text(string: str | bytes) -> bytes:
    raw = string.encode() if isinstance(string, str) else string
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, *rest: Any) -> bytes:
    """Type and value, as they stand behind a key."""
    if kind == ARRAY:
        item, values = rest
        body = b"".join(map(text, values)) if item == STRING else struct.pack(f"<{len(values)}{CODES[item]}", *values)
        return struct.pack("<IIQ", ARRAY, item, len(values)) + body
    body = text(rest[0]) if kind == STRING else struct.pack("<" + CODES[kind], rest[0])
    return struct.pack("<I", kind) + body


def aligned(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment


def sound_keys(name: str) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "general.architecture": (STRING, name),
        "general.name": (STRING, "raw"),
        f"{name}.block_count": (U32, 1),
        f"{name}.context_length": (U32, 128),
        f"{name}.embedding_length": (U32, N_EMBD),
        f"{name}.feed_forward_length": (U32, N_FF),
        f"{name}.attention.head_count": (U32, 4),
        f"{name}.attention.head_count_kv": (U32, 2),
        f"{name}.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        f"{name}.rope.dimension_count": (U32, N_EMBD // 4),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "gpt-2"),
        "tokenizer.ggml.tokens": (ARRAY, STRING, [f"token{i}" for i in range(N_VOCAB)]),
        "tokenizer.ggml.token_type": (ARRAY, I32, [1] * N_VOCAB),
        "tokenizer.ggml.merges": (ARRAY, STRING, ["t o", "to k"]),
    }
    if name in DIFFUSION:
        keys["tokenizer.ggml.mask_token_id"] = (U32, N_VOCAB - 1)
    if "moe" in name or name == "rnd1":
        keys |= {f"{name}.expert_count": (U32, 4), f"{name}.expert_used_count": (U32, 2)}
    return keys


def sound_tensors(name: str) -> list[list[Any]]:
    layer = {"attn_norm": (N_EMBD,), "attn_q": (N_EMBD, N_EMBD), "attn_k": (N_EMBD, N_EMBD // 2)}
    if "moe" in name or name == "rnd1":
        layer |= {"ffn_gate_inp": (N_EMBD, 4), "ffn_gate_exps": (N_EMBD, N_FF, 4), "ffn_up_exps": (N_EMBD, N_FF, 4)}
        layer |= {"ffn_down_exps": (N_FF, N_EMBD, 4)}
    tensors = [["token_embd.weight", (N_EMBD, N_VOCAB), 0], ["output_norm.weight", (N_EMBD,), 0]]
    return tensors + [[f"blk.0.{tensor}.weight", dims, 0] for tensor, dims in layer.items()]


@dataclass
class Draft:
    architecture: str = "llada"
    version: int = 3
    alignment: int = 32
    n_keys: int | None = None
    n_tensors: int | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    tensors: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = sound_keys(self.architecture) | self.keys
        self.tensors = self.tensors or sound_tensors(self.architecture)

    def tensor(self, name: str) -> list[Any]:
        return next(tensor for tensor in self.tensors if tensor[0] == name)

    def header(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.keys) if self.n_keys is None else self.n_keys
        written = struct.pack("<4sIQQ", b"GGUF", self.version, n_tensors, n_keys)
        written += b"".join(text(key) + (entry if isinstance(entry, bytes) else value(*entry))
                            for key, entry in self.keys.items())  # fmt: skip
        at = 0
        for name, dims, kind, *offset in self.tensors:
            written += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            written += struct.pack("<IQ", kind, offset[0] if offset else at)
            at = aligned(at + n_bytes(dims, kind), self.alignment)
        return written

    def bytes(self) -> bytes:
        """The whole file; its weights count up, so that each place differs. Absurd tensors get none."""
        header = self.header()
        written = bytearray(header + bytes(-len(header) % self.alignment))
        for i, (_, dims, kind, *_) in enumerate(self.tensors):
            size = min(n_bytes(dims, kind), 1 << 20)
            written += (bytes((j + 7 * i) % 251 for j in range(251)) * (size // 251 + 1))[:size]
            written += bytes(-size % self.alignment)
        return bytes(written)


def n_bytes(dims: tuple[int, ...], kind: int) -> int:
    n = 1
    for dim in dims:
        n *= dim
    block, size = SIZES.get(kind, (1, 1))
    return n // block * size


def of(architecture: str, **keys: Any) -> Draft:
    """A sound draft with other values: `attention__head_count=(U32, 3)`; None takes a key away."""
    draft = Draft(architecture)
    for name, entry in keys.items():
        key = name.replace("__", ".")
        key = key if key.startswith(("general.", "tokenizer.", "split.")) else f"{architecture}.{key}"
        draft.keys[key] = entry
        if entry is None:
            del draft.keys[key]
    return draft


def with_tensor(*tensor: Any) -> Draft:
    return with_tensors(tensor)


def with_tensors(*tensors: tuple[Any, ...]) -> Draft:
    draft = Draft()
    draft.tensors += [list(tensor) for tensor in tensors]
    return draft


def split_into(folder: Path, n: int, stem: str = "big") -> list[Path]:
    """A sound model in so many files."""
    paths = []
    for no in range(n):
        draft = of("llama", split__no=(U16, no), split__count=(U16, n))
        draft.tensors = [tensor for i, tensor in enumerate(draft.tensors) if i % n == no]
        paths.append(folder / f"{stem}-{no + 1:05}-of-{n:05}.gguf")
        paths[-1].write_bytes(draft.bytes())
    return paths
