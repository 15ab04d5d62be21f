"""Tiny models of architectures whose layers differ: some cache keys and values, or keys alone, the others keep a state.

They load, to be measured, and say nothing: their weights are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from gguf import GGUFWriter

from tests.tiny.shape import Shape
from tests.tiny.writer import add_value, add_vocabulary

Layer: TypeAlias = dict[str, tuple[int, ...]]

N_VOCAB, N_EMBD, N_FF, N_EXPERT = 300, 256, 512, 4
N_HEAD, N_HEAD_KV, HEAD = 8, 2, 64
STATE, GROUPS, RANK, KERNEL = 64, 4, 8, 4  # of Qwen3.5
KDA, LATENT, ROTATED, PLAIN, VALUE = 64, 128, 16, 32, 32  # of Kimi Linear

DENSE: Layer = {"ffn_gate": (N_EMBD, N_FF), "ffn_up": (N_EMBD, N_FF), "ffn_down": (N_FF, N_EMBD)}
EXPERTS: Layer = {
    "ffn_gate_inp": (N_EMBD, N_EXPERT), "ffn_gate_exps": (N_EMBD, N_FF, N_EXPERT),
    "ffn_up_exps": (N_EMBD, N_FF, N_EXPERT), "ffn_down_exps": (N_FF, N_EMBD, N_EXPERT),
}  # fmt: skip
HEADS = {
    "feed_forward_length": N_FF, "attention.head_count": N_HEAD, "attention.head_count_kv": N_HEAD_KV,
    "attention.key_length": HEAD, "attention.value_length": HEAD, "rope.dimension_count": HEAD,
}  # fmt: skip
LATENT_HEADS = HEADS | {
    "attention.head_count_kv": 1, "attention.key_length": LATENT + ROTATED, "attention.value_length": LATENT,
    "attention.key_length_mla": PLAIN + ROTATED, "attention.value_length_mla": VALUE,
    "attention.kv_lora_rank": LATENT, "rope.dimension_count": ROTATED, "expert_count": N_EXPERT,
    "expert_used_count": 2, "expert_feed_forward_length": N_FF, "expert_shared_count": 1, "expert_gating_func": 2,
}  # fmt: skip


def attention(n_wide: int = 1) -> Layer:
    return {
        "attn_q": (N_EMBD, n_wide * HEAD * N_HEAD), "attn_k": (N_EMBD, HEAD * N_HEAD_KV),
        "attn_v": (N_EMBD, HEAD * N_HEAD_KV), "attn_output": (HEAD * N_HEAD, N_EMBD),
    }  # fmt: skip


def latent_attention() -> Layer:
    return {
        "attn_kv_a_norm": (LATENT,), "attn_q": (N_EMBD, N_HEAD * (PLAIN + ROTATED)),
        "attn_kv_a_mqa": (N_EMBD, LATENT + ROTATED), "attn_k_b": (PLAIN, LATENT, N_HEAD),
        "attn_v_b": (LATENT, VALUE, N_HEAD), "attn_output": (N_HEAD * VALUE, N_EMBD),
    }  # fmt: skip


def qwen35(layer: int) -> Layer:
    norms: Layer = {"attn_norm": (N_EMBD,), "post_attention_norm": (N_EMBD,)}
    if layer % 4 == 3:
        return norms | DENSE | attention(2) | {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
    inner = STATE * RANK
    mixed = inner + 2 * STATE * GROUPS
    return norms | DENSE | {
        "attn_qkv": (N_EMBD, mixed), "attn_gate": (N_EMBD, inner), "ssm_conv1d": (KERNEL, mixed),
        "ssm_dt.bias": (RANK,), "ssm_a.": (RANK,), "ssm_beta": (N_EMBD, RANK), "ssm_alpha": (N_EMBD, RANK),
        "ssm_norm": (STATE,), "ssm_out": (inner, N_EMBD),
    }  # fmt: skip


def minimax(layer: int) -> Layer:
    norms: Layer = {"attn_norm": (N_EMBD,), "ffn_norm": (N_EMBD,)}
    if layer % 8 == 7:
        return norms | EXPERTS | attention()
    inner = HEAD * N_HEAD
    return norms | EXPERTS | {
        "attn_norm_2": (inner,), "attn_qkv": (N_EMBD, 3 * inner), "attn_gate": (N_EMBD, inner),
        "attn_output": (inner, N_EMBD),
    }  # fmt: skip


def kimi(layer: int) -> Layer:
    if layer % 4 == 3:
        return deepseek(layer)
    inner = KDA * N_HEAD
    return {
        "attn_norm": (N_EMBD,), "ffn_norm": (N_EMBD,), **DENSE,
        **{f"ssm_conv1d_{part}": (KERNEL, 1, inner, 1) for part in "qkv"},
        **{f"attn_{part}": (N_EMBD, inner) for part in "qkv"},
        "ssm_f_a": (N_EMBD, KDA), "ssm_f_b": (KDA, inner), "ssm_beta": (N_EMBD, N_HEAD), "ssm_a.": (1, N_HEAD, 1, 1),
        "ssm_dt.bias": (inner,), "ssm_g_a": (N_EMBD, KDA), "ssm_g_b": (KDA, inner), "ssm_norm": (KDA,),
        "attn_output": (inner, N_EMBD),
    }  # fmt: skip


def deepseek(layer: int) -> Layer:
    del layer
    return {"attn_norm": (N_EMBD,), "ffn_norm": (N_EMBD,), **DENSE, **latent_attention()}


MODELS: dict[str, tuple[int, Callable[[int], Layer], Mapping[str, Any]]] = {
    "qwen35": (5, qwen35, HEADS | {
        "rope.dimension_sections": [11, 11, 10, 0], "ssm.conv_kernel": KERNEL, "ssm.inner_size": STATE * RANK,
        "ssm.state_size": STATE, "ssm.time_step_rank": RANK, "ssm.group_count": GROUPS,
    }),
    "minimax-01": (9, minimax, HEADS | {"residual_scale": 1.0, "expert_count": N_EXPERT, "expert_used_count": 2}),
    "kimi-linear": (4, kimi, LATENT_HEADS | {
        "attention.head_count_kv": [0, 0, 0, 1], "ssm.conv_kernel": KERNEL, "kda.head_dim": KDA,
        "leading_dense_block_count": 4,
    }),
    "deepseek2": (26, deepseek, LATENT_HEADS | {"leading_dense_block_count": 26}),
}  # fmt: skip


def write_layers(path: Path, architecture: str) -> Path:
    """Write the file of one of MODELS."""
    n_layer, layer_of, keys = MODELS[architecture]
    writer = GGUFWriter(path, architecture)
    writer.add_vocab_size(N_VOCAB)
    writer.add_context_length(512)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(n_layer)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in keys.items():
        add_value(writer, f"{architecture}.{key}", value)
    add_vocabulary(writer, Shape("llama", n_vocab=N_VOCAB, n_embd=N_EMBD))
    dims = {"token_embd": (N_EMBD, N_VOCAB), "output_norm": (N_EMBD,), "output": (N_EMBD, N_VOCAB)}
    layers = {f"blk.{i}.{name}": size for i in range(n_layer) for name, size in layer_of(i).items()}
    for name, size in (dims | layers).items():
        whole = name.removesuffix(".") if name.endswith((".", ".bias")) else f"{name}.weight"
        writer.add_tensor(whole, np.zeros(size[::-1], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
