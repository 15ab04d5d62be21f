"""A tiny LLaDA 2: BailingMoeV2's layers with the keys that llama.cpp's converter writes, and a mask token."""

from __future__ import annotations

from pathlib import Path

from gguf import ExpertGatingFuncType, GGUFWriter

from tests.tiny.shape import Shape
from tests.tiny.weights import Dice, Tensor
from tests.tiny.writer import add_vocabulary

N_LAYER, N_EMBD, N_HEAD, N_HEAD_KV, HEAD, N_ROT, N_FF, N_VOCAB = 3, 64, 4, 2, 16, 8, 96, 300
N_DENSE, N_EXPERT, N_USED, N_GROUP, N_GROUP_USED, N_SHARED, SCALE = 1, 8, 2, 4, 2, 1, 2.5


def write_bailing(path: Path, *, mask_text: str = "<|mask|>", seed: int = 0) -> Path:
    writer = GGUFWriter(path, "bailingmoe2")
    writer.add_name("tiny bailingmoe2")
    writer.add_vocab_size(N_VOCAB)
    writer.add_context_length(512)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD_KV)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(N_ROT)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_leading_dense_block_count(N_DENSE)
    writer.add_expert_count(N_EXPERT)
    writer.add_expert_used_count(N_USED)
    writer.add_expert_group_count(N_GROUP)
    writer.add_expert_group_used_count(N_GROUP_USED)
    writer.add_expert_feed_forward_length(N_FF)
    writer.add_expert_shared_count(N_SHARED)
    writer.add_expert_weights_norm(True)
    writer.add_expert_weights_scale(SCALE)
    writer.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)
    add_vocabulary(writer, Shape("qwen2", n_vocab=N_VOCAB, mask_text=mask_text))
    for name, values in tensors(Dice(seed)):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(dice: Dice) -> list[tuple[str, Tensor]]:
    found = [("token_embd.weight", dice.matrix(N_VOCAB, N_EMBD, gain=2.5))]
    for i in range(N_LAYER):
        layer = attention(dice) | (dense(dice) if i < N_DENSE else experts(dice))
        found += [(f"blk.{i}.{name}", values) for name, values in layer.items()]
    found.append(("output_norm.weight", dice.norm(N_EMBD)))
    return [*found, ("output.weight", dice.matrix(N_VOCAB, N_EMBD, gain=2.5))]


def attention(dice: Dice) -> dict[str, Tensor]:
    return {
        "attn_norm.weight": dice.norm(N_EMBD),
        "attn_qkv.weight": dice.matrix((N_HEAD + 2 * N_HEAD_KV) * HEAD, N_EMBD, gain=1.4),
        "attn_q_norm.weight": dice.norm(HEAD) * 1.6,
        "attn_k_norm.weight": dice.norm(HEAD) * 1.6,
        "attn_output.weight": dice.matrix(N_EMBD, N_HEAD * HEAD),
        "ffn_norm.weight": dice.norm(N_EMBD),
    }


def dense(dice: Dice) -> dict[str, Tensor]:
    return {
        "ffn_gate.weight": dice.matrix(N_FF, N_EMBD),
        "ffn_up.weight": dice.matrix(N_FF, N_EMBD),
        "ffn_down.weight": dice.matrix(N_EMBD, N_FF),
    }


def experts(dice: Dice) -> dict[str, Tensor]:
    return {
        "ffn_gate_inp.weight": dice.matrix(N_EXPERT, N_EMBD, gain=1.5),
        "exp_probs_b.bias": dice.bias(N_EXPERT),
        "ffn_gate_exps.weight": dice.matrix(N_EXPERT, N_FF, N_EMBD),
        "ffn_up_exps.weight": dice.matrix(N_EXPERT, N_FF, N_EMBD),
        "ffn_down_exps.weight": dice.matrix(N_EXPERT, N_EMBD, N_FF),
        "ffn_gate_shexp.weight": dice.matrix(N_FF, N_EMBD),
        "ffn_up_shexp.weight": dice.matrix(N_FF, N_EMBD),
        "ffn_down_shexp.weight": dice.matrix(N_EMBD, N_FF),
    }
