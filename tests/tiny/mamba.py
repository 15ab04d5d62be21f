"""A tiny Mamba: a model whose memory is a state, which cannot be cut back to an earlier token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from tests.tiny.shape import Shape
from tests.tiny.weights import Dice, Tensor
from tests.tiny.writer import add_vocabulary

N_LAYER, N_EMBD, N_VOCAB = 2, 32, 300
D_INNER, D_STATE, D_CONV, DT_RANK = 2 * N_EMBD, 16, 4, 8


def write_mamba(path: Path) -> Path:
    writer = GGUFWriter(path, "mamba")
    writer.add_vocab_size(N_VOCAB)
    writer.add_context_length(512)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(D_CONV)
    writer.add_ssm_inner_size(D_INNER)
    writer.add_ssm_state_size(D_STATE)
    writer.add_ssm_time_step_rank(DT_RANK)
    add_vocabulary(writer, Shape("llama", n_vocab=N_VOCAB, n_embd=N_EMBD))
    for name, values in tensors(Dice(0)):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(dice: Dice) -> list[tuple[str, Tensor]]:
    found = [("token_embd.weight", dice.matrix(N_VOCAB, N_EMBD, gain=2.5)), ("output_norm.weight", dice.norm(N_EMBD))]
    for i in range(N_LAYER):
        layer = {
            "attn_norm.weight": dice.norm(N_EMBD),
            "ssm_in.weight": dice.matrix(2 * D_INNER, N_EMBD),
            "ssm_conv1d.weight": dice.matrix(D_INNER, D_CONV),
            "ssm_conv1d.bias": dice.bias(D_INNER),
            "ssm_x.weight": dice.matrix(DT_RANK + 2 * D_STATE, D_INNER),
            "ssm_dt.weight": dice.matrix(D_INNER, DT_RANK),
            "ssm_dt.bias": dice.bias(D_INNER),
            "ssm_a": -np.tile(np.arange(1, D_STATE + 1, dtype=np.float32), (D_INNER, 1)),
            "ssm_d": np.ones(D_INNER, np.float32),
            "ssm_out.weight": dice.matrix(N_EMBD, D_INNER),
        }
        found += [(f"blk.{i}.{name}", values) for name, values in layer.items()]
    return found
