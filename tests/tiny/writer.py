"""A Shape as a GGUF file, with the metadata that llama.cpp's converter writes for the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

from tests.tiny.shape import MOE, PRE_TOKENIZER, SHIFTED, Shape
from tests.tiny.vocabulary import BOS, EOS, EOT, EXPAND, MASK, Vocabulary
from tests.tiny.weights import Tensor, tensors

FILE_TYPE = {"F32": LlamaFileType.ALL_F32, "F16": LlamaFileType.MOSTLY_F16, "Q8_0": LlamaFileType.MOSTLY_Q8_0}

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write(path: Path, shape: Shape) -> Path:
    """Write the file; equal shapes give equal bytes."""
    write_with(GGUFWriter(path, shape.architecture), shape)
    return path


def write_parts(path: Path, shape: Shape, n_tensors: int = 8) -> list[Path]:
    """Write it in parts of so many tensors, named as llama.cpp wants them after `path`."""
    write_with(GGUFWriter(path, shape.architecture, split_max_tensors=n_tensors), shape)
    return sorted(path.parent.glob(f"{path.stem}-*-of-*.gguf"))


def write_with(writer: GGUFWriter, shape: Shape) -> None:
    add_hyperparameters(writer, shape)
    add_vocabulary(writer, shape)
    for key, value in shape.metadata.items():
        add_value(writer, key, value)
    written: dict[int, tuple[Tensor, Any]] = {}  # of layers that are alike, each matrix as it stands in the file
    for name, values in tensors(shape):
        add_tensor(writer, name, values, shape.weights, written if shape.alike else {})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_hyperparameters(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name(f"tiny {shape.architecture}")
    writer.add_file_type(FILE_TYPE[shape.weights])
    writer.add_vocab_size(shape.n_vocab)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    if shape.n_embd_head * shape.n_head != shape.n_embd:
        writer.add_key_length(shape.n_embd_head)
        writer.add_value_length(shape.n_embd_head)
    writer.add_rope_dimension_count(shape.n_embd_head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    if shape.architecture in MOE:
        writer.add_expert_count(shape.n_expert)
        writer.add_expert_used_count(shape.n_expert_used)
        writer.add_expert_feed_forward_length(shape.n_ff)
    if shape.is_diffusion:
        writer.add_causal_attention(False)
        if shape.architecture not in SHIFTED:
            writer.add_diffusion_shift_logits(False)


def add_vocabulary(writer: GGUFWriter, shape: Shape) -> None:
    vocabulary = Vocabulary.of_size(shape.n_vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(shape.pre or PRE_TOKENIZER.get(shape.architecture, "qwen2"))
    renamed = {MASK: shape.mask_text} if shape.mask_text is not None else {}
    if shape.with_expand:
        unused = vocabulary.types.index(TokenType.UNUSED)
        renamed[vocabulary.tokens[unused]] = EXPAND
        vocabulary.types[unused] = TokenType.CONTROL
    writer.add_token_list([renamed.get(token, token) for token in vocabulary.tokens])
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(vocabulary.id(BOS))
    writer.add_eos_token_id(vocabulary.id(EOS))
    writer.add_eot_token_id(vocabulary.id(EOT))
    if shape.is_diffusion and shape.with_mask:
        writer.add_mask_token_id(vocabulary.id(MASK))
    writer.add_add_bos_token(shape.architecture in ("llada", "llama") if shape.add_bos is None else shape.add_bos)
    if shape.chat_template is not None:
        writer.add_chat_template(shape.chat_template)


def add_value(writer: GGUFWriter, key: str, value: bool | int | float | str | list[int]) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def add_tensor(
    writer: GGUFWriter, name: str, values: Tensor, weights: str, written: dict[int, tuple[Tensor, Any]]
) -> None:
    """Vectors and the router stay F32, as in llama.cpp's own quantised files."""
    if values.ndim == 1 or "ffn_gate_inp" in name or weights == "F32":
        writer.add_tensor(name, values)
    elif weights == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        kind = GGMLQuantizationType[weights]
        if id(values) not in written:
            written[id(values)] = values, quantize(values, kind)
        writer.add_tensor(name, written[id(values)][1], raw_dtype=kind)
