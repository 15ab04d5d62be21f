"""A trained model as a GGUF file: `python -m training.export nano-llada`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from . import tokenizer as vocabulary
from .origin import digest_of
from .recipe import RECIPES, Recipe
from .record import Record, check_recipe, schedules_of
from .runs import NANO, RUNS, Run, RunError, replacing

DIGEST = "hoshikage.weights_sha256"  # of the file's metadata
ADJACENT_PAIRS = ("llama", "llada")
"""Here rotary positions turn neighbouring dimensions; elsewhere, and in torch, the two halves of a head."""
PARTS = {
    "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.out": "attn_output",
    "attn.q_norm": "attn_q_norm", "attn.k_norm": "attn_k_norm", "attn_norm": "attn_norm", "ffn_norm": "ffn_norm",
    "ffn.gate": "ffn_gate", "ffn.up": "ffn_up", "ffn.down": "ffn_down", "ffn.router": "ffn_gate_inp",
}  # fmt: skip
WHOLE = {"embed.weight": "token_embd.weight", "norm.weight": "output_norm.weight", "head.weight": "output.weight"}

Array = NDArray[np.float32]


def _interleave(weight: Array, n_head: int) -> Array:
    """Reorders the rows of every head from (half, pair) to (pair, half)."""
    return weight.reshape(n_head, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def tensors(recipe: Recipe, weights: dict[str, Tensor]) -> dict[str, Array]:
    """GGUF names and values of all tensors; experts are stacked."""
    out: dict[str, Array] = {}
    stacks: dict[str, list[Array]] = {}
    for name, tensor in weights.items():
        value: Array = tensor.detach().float().cpu().numpy()
        if name in WHOLE:
            out[WHOLE[name]] = value
            continue
        _, layer, rest = name.split(".", 2)
        part, kind = rest.rsplit(".", 1)
        if ".experts." in rest:
            stacks.setdefault(f"blk.{layer}.ffn_{part.rsplit('.', 1)[1]}_exps.weight", []).append(value)
            continue
        if part in ("attn.q", "attn.k") and recipe.architecture in ADJACENT_PAIRS:
            value = _interleave(value, recipe.shape.n_head)
        out[f"blk.{layer}.{PARTS[part]}.{kind}"] = value
    return out | {name: np.stack(parts) for name, parts in stacks.items()}


def _storage(name: str, value: Array, wanted: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    """Vectors and routers stay exact: they are tiny, and what they steer is not."""
    return gguf.GGMLQuantizationType.F32 if value.ndim == 1 or "ffn_gate_inp" in name else wanted


def _write_shape(writer: gguf.GGUFWriter, recipe: Recipe) -> None:
    shape = recipe.shape
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.d_head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.n_vocab)
    if shape.n_expert:
        writer.add_expert_count(shape.n_expert)
        writer.add_expert_used_count(shape.n_expert_used)
        writer.add_expert_feed_forward_length(shape.d_ff)
    if recipe.block_length:
        writer.add_uint32("diffusion.block_length", recipe.block_length)
        writer.add_diffusion_shift_logits(False)
    elif not recipe.objective.causal:
        writer.add_causal_attention(False)
        writer.add_diffusion_shift_logits(recipe.shift)


def _write_vocabulary(writer: gguf.GGUFWriter, recipe: Recipe) -> None:
    tokens, merges = vocabulary.vocabulary(vocabulary.load())
    if recipe.objective.causal:
        tokens[vocabulary.MASK] = "<|unused_mask|>"
    kinds = [gguf.TokenType.CONTROL if k < vocabulary.N_SPECIAL else gguf.TokenType.NORMAL for k in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocabulary.EOS)
    writer.add_eos_token_id(vocabulary.EOS)
    writer.add_pad_token_id(vocabulary.EOS)
    writer.add_eot_token_id(vocabulary.EOT)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(vocabulary.CHAT_TEMPLATE)
    if recipe.objective.causal:
        gaps = {"pre": vocabulary.GAP_PREFIX, "suf": vocabulary.GAP_SUFFIX, "mid": vocabulary.GAP_MIDDLE}
        for part, token in gaps.items():
            writer.add_uint32(f"tokenizer.ggml.fim_{part}_token_id", token)
    else:
        writer.add_mask_token_id(vocabulary.MASK)


def export(recipe: Recipe, weights: dict[str, Tensor], path: Path, kind: str = "Q8_0") -> None:
    """Writes the file, whole or not at all; `kind` is how matrices are stored: F32, F16 or Q8_0."""
    with replacing(path) as partial:
        _write(recipe, weights, partial, kind)


def digest_in(path: Path) -> str | None:
    """Of the weights that a file was made of, before they were rounded; one of an older program does not say."""
    try:
        field = gguf.GGUFReader(path).get_field(DIGEST)
    except Exception as error:  # its reader checks no more than it has to
        raise RunError(f"{path} cannot be read as a GGUF file; move it away") from error
    return str(field.contents()) if field else None


def _write(recipe: Recipe, weights: dict[str, Tensor], path: Path, kind: str) -> None:
    wanted = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, recipe.architecture)
    writer.add_name(recipe.name)
    writer.add_description(recipe.summary)
    writer.add_license("mit")
    writer.add_string(DIGEST, digest_of(weights))
    writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32", "F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}[kind]])
    _write_shape(writer, recipe)
    _write_vocabulary(writer, recipe)
    for name, value in tensors(recipe, weights).items():
        storage = _storage(name, value, wanted)
        writer.add_tensor(name, gguf.quantize(value, storage), raw_dtype=storage)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check_end(run: Run, record: Record | None, state: Mapping[str, Any], *, allowed: bool) -> None:
    """Says how far a run has come that is not at its end; it takes the place of no released file unasked."""
    if state.get("finished"):
        return
    told = f"{run.folder} is not known to be at its end: {schedules_of(record, state)}"
    if not allowed:
        raise RunError(f"{told}; the package's own file stays as it is: finish the run, or say --unfinished or --to")
    print(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--to", type=Path, default=NANO, help="the folder; default: the package's own")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of all models' runs; default: %(default)s")
    parser.add_argument("--kind", choices=("F32", "F16", "Q8_0"), default="Q8_0", help="how matrices are stored [Q8_0]")
    parser.add_argument("--unfinished", action="store_true", help="also as the package's own, of a run on its way")
    arguments = parser.parse_args()
    recipe, run = RECIPES[arguments.model], Run.of(arguments.model, arguments.runs)
    path = arguments.to / f"{recipe.name}.gguf"
    try:
        state = run.load()
        record = Record.of(state)
        check_recipe(run, recipe, record)
        elsewhere = arguments.to.resolve() != NANO.resolve()
        _check_end(run, record, state, allowed=elsewhere or arguments.unfinished)
        export(recipe, state["model"], path, arguments.kind)
    except RunError as error:
        parser.exit(1, f"{error}\n")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
