"""Whether llama.cpp survives a well-formed header.

Most mistakes in a file end in an exception inside llama.cpp, which reports them. This file is about the others:
assertions that abort, divisions by zero, reads out of bounds, loops without end. Each rule names the value and
stands for such a place in the pinned source. Rules for every architecture come from what llama.cpp does before it
looks at the architecture; the rest of a forward pass is followed for `FAMILY` only, and whatever another
architecture does to its process, a worker of its own keeps that from the server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hoshikage.architectures import GENERATIVE, NOT_GENERATIVE
from hoshikage.checks import shown
from hoshikage.errors import ModelFileError, UnsupportedModelError
from hoshikage.gguf.header import BOOL, F32, I32, U32, Array, Header, TensorInfo
from hoshikage.gguf.vocabulary import judge_vocabulary

# The diffusion architectures, their twins, and the causal ones that diffusion models are trained from.
FAMILY = frozenset({"llada", "dream", "llada-moe", "rnd1", "llama", "qwen2", "qwen3", "qwen3moe", "hy_v3"})
EXPERTS_WANTED = frozenset({"llada-moe", "rnd1", "qwen3moe"})
HEADS_FILL_ROWS = frozenset({"dream", "llada-moe", "qwen2"})  # projections of n_embd rows, whatever the heads say

LAYERS_MAX = 512
EXPERTS_MAX = 1024
INT32_MAX = (1 << 31) - 1
ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
ADDED_OR_MULTIPLIED = ("norm.weight", ".bias", ".scale", ".input_scale", ".exp_probs_b")

# hy_v3's loader takes whatever a layer has, and its graph takes all of one of these for granted: experts where there
# is a router. A llada-moe is retagged as such a model, and gets the shared expert then.
ROUTER = "ffn_gate_inp"
EXPERTS = (ROUTER, "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
FUSED_EXPERTS = (ROUTER, "ffn_gate_up_exps", "ffn_down_exps")
SHARED = ("ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp")
DENSE = ("ffn_gate", "ffn_up", "ffn_down")
LAYER_NEEDS = {"llada-moe": (EXPERTS,), "hy_v3": (EXPERTS + SHARED, FUSED_EXPERTS + SHARED, DENSE)}
ROPE_FACTORS = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})


def judge_model(header: Header, others: Iterable[Header] = ()) -> None:
    """Raises ModelFileError for a file that would not just fail. `others` are the further parts of a split one."""
    judge_architecture(header)
    tensors = {tensor.name: tensor for part in (header, *others) for tensor in part.tensors}
    if not tensors:
        raise ModelFileError(header.path, "it holds no weights", "it may be a vocabulary only; get the whole model")
    keys = Keys(header)
    judge_keys(keys)
    if header.architecture in FAMILY:
        judge_family(keys, tensors)
    judge_tensors(header, tensors)
    judge_vocabulary(header, tensors.get("token_embd.weight"))
    if header.is_diffusion:
        judge_mask(header)


def judge_architecture(header: Header) -> None:
    kind = header.text("general.type")
    if kind not in (None, "model"):
        raise ModelFileError(header.path, f"it is of the type {shown(kind)}, not a model", "give the model's own file")
    name = header.architecture
    if not name:
        raise ModelFileError(header.path, "it does not say its architecture (general.architecture)", "convert it again")
    if name in NOT_GENERATIVE:
        raise UnsupportedModelError(header.path, f"{name} is {NOT_GENERATIVE[name]}", "give a model that writes text")
    if name not in GENERATIVE:
        raise UnsupportedModelError(header.path, f"architecture {shown(name)} is not supported by the pinned llama.cpp")


def judge_mask(header: Header) -> None:
    if header.mask_id is None:
        raise ModelFileError(
            header.path,
            "it is a diffusion model without a mask token",
            "convert it again, or name one (gguf_new_metadata.py --special-token mask)",
        )


@dataclass(frozen=True)
class Keys:
    """The architecture's own keys, of the types that llama.cpp insists on."""

    header: Header

    def refuse(self, name: str, cause: str) -> ModelFileError:
        return ModelFileError(self.header.path, f"{self.header.architecture}.{name} {cause}")

    def has(self, name: str) -> bool:
        return f"{self.header.architecture}.{name}" in self.header.fields

    def whole(self, name: str, default: int | None = None) -> int:
        entry = self.header.fields.get(f"{self.header.architecture}.{name}")
        if entry is None:
            if default is None:
                raise self.refuse(name, "is missing")
            return default
        if not isinstance(entry.value, int) or entry.item != U32:
            raise self.refuse(name, f"is {entry.type_name}, not u32")
        return entry.value

    def real(self, name: str, default: float) -> float:
        entry = self.header.fields.get(f"{self.header.architecture}.{name}")
        if entry is None:
            return default
        if not isinstance(entry.value, float) or entry.item != F32:
            raise self.refuse(name, f"is {entry.type_name}, not f32")
        if not math.isfinite(entry.value):
            raise self.refuse(name, f"is {entry.value}")
        return entry.value

    def per_layer(self, name: str, default: list[int]) -> list[int]:
        """One number for all layers, or one for each; llama.cpp reads negative ones as huge."""
        entry = self.header.fields.get(f"{self.header.architecture}.{name}")
        if entry is None:
            return default
        if not isinstance(entry.value, Array):
            return [self.whole(name)] * len(default)
        if entry.item not in (U32, I32, BOOL) or entry.n != len(default):
            raise self.refuse(name, f"is {entry.type_name} with {entry.n} items, not u32 for {len(default)} layers")
        return [int(n) & 0xFFFFFFFF for n in entry.value.tolist()]


# -- every architecture


def judge_keys(keys: Keys) -> None:
    n_layer = keys.whole("block_count")
    if not 1 <= n_layer <= LAYERS_MAX:
        raise keys.refuse("block_count", f"is {n_layer}, not 1 to {LAYERS_MAX}")
    n_nextn = keys.whole("nextn_predict_layers", 0)
    if n_nextn >= n_layer:
        raise keys.refuse("nextn_predict_layers", f"is {n_nextn} of {n_layer} layers")
    for name in ("context_length", "embedding_length"):
        if not 1 <= keys.whole(name) <= INT32_MAX:
            raise keys.refuse(name, f"is {keys.whole(name)}")
    keys.per_layer("feed_forward_length", [0] * n_layer)  # llama.cpp refuses it as well, but only once it loads
    judge_heads(keys, n_layer)
    judge_experts(keys, n_layer)
    judge_rope(keys)
    for name in ("layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"):
        if keys.real(f"attention.{name}", 0.0) < 0:
            raise keys.refuse(f"attention.{name}", "is negative")


def judge_heads(keys: Keys, n_layer: int) -> None:
    """A layer without heads is fine in a recurrent or hybrid model; a fraction of one is not."""
    heads = keys.per_layer("attention.head_count", [0] * n_layer)
    heads_kv = keys.per_layer("attention.head_count_kv", heads)
    for n, n_kv in zip(heads, heads_kv, strict=True):
        if n_kv and n % n_kv:
            raise keys.refuse("attention.head_count", f"is {n}, no multiple of the {n_kv} of head_count_kv")


def judge_experts(keys: Keys, n_layer: int) -> None:
    n_expert = keys.whole("expert_count", 0)
    n_used = max(keys.per_layer("expert_used_count", [0] * n_layer))
    n_groups = keys.whole("expert_group_count", 0)
    n_groups_used = keys.whole("expert_group_used_count", 0)
    if n_expert > EXPERTS_MAX:
        raise keys.refuse("expert_count", f"is {n_expert}, above {EXPERTS_MAX}")
    dense = n_expert <= 1 and keys.header.architecture in ("hunyuan-dense", "hunyuan_vl")  # llama.cpp says so, too
    if not dense and not (n_used == 0 if n_expert == 0 else 1 <= n_used <= n_expert):
        raise keys.refuse("expert_used_count", f"is {n_used} of {n_expert} experts")
    if n_groups and n_groups >= n_expert:
        raise keys.refuse("expert_group_count", f"is {n_groups} for {n_expert} experts")
    if n_groups > 1 and (n_expert % n_groups or not 1 <= n_groups_used < n_groups):
        raise keys.refuse("expert_group_count", f"is {n_groups} for {n_expert} experts, {n_groups_used} groups in use")
    if not 0 <= keys.whole("expert_gating_func", 0) <= 4:
        raise keys.refuse("expert_gating_func", f"is {keys.whole('expert_gating_func')}, which does not exist")


def judge_rope(keys: Keys) -> None:
    scaling = keys.header.metadata.get(f"{keys.header.architecture}.rope.scaling.type", "linear")
    if scaling not in ROPE_SCALINGS:
        raise keys.refuse("rope.scaling.type", f"is {shown(scaling)}, not one of {', '.join(ROPE_SCALINGS)}")
    for name in ("scaling.factor", "scale_linear", "freq_base", "scaling.attn_factor"):
        if keys.real(f"rope.{name}", 0.0) < 0:
            raise keys.refuse(f"rope.{name}", "is negative")


def judge_tensors(header: Header, tensors: dict[str, TensorInfo]) -> None:
    for name in ROPE_FACTORS & tensors.keys():
        if tensors[name].type.name != "f32":
            raise ModelFileError(header.path, f"the tensor {name} is {tensors[name].type.name}, not f32")
    for tensor in tensors.values():
        stem = tensor.name.removesuffix(".weight")
        fed_forward = tensor.type.name == "nvfp4" and stem.endswith((".ffn_up", ".ffn_gate", ".ffn_down"))
        if fed_forward and f"{stem}.scale" in tensors and f"{stem}.bias" in tensors:
            raise ModelFileError(header.path, f"the nvfp4 tensor {shown(tensor.name)} has a scale and a bias")
    tied = tensors.get("token_embd.weight") if "output.weight" not in tensors else None
    if tied and tied.type.name == "nvfp4" and {"output.scale", "output.input_scale"} & tensors.keys():
        raise ModelFileError(header.path, "its embedding is nvfp4 and serves as the output, which has scales")


# -- FAMILY: the forward pass as a whole


def judge_family(keys: Keys, tensors: dict[str, TensorInfo]) -> None:
    n_layer = keys.whole("block_count")
    n_head = uniform(keys, "attention.head_count", n_layer)
    uniform(keys, "attention.head_count_kv", n_layer, n_head)
    n_embd = keys.whole("embedding_length")
    head = keys.whole("attention.key_length", n_embd // n_head)
    if head < 2 or head % 2:
        raise keys.refuse("attention.key_length", f"is {head}, not an even number")
    if keys.whole("attention.value_length", n_embd // n_head) != head:
        raise keys.refuse("attention.value_length", f"is not the {head} of the keys")
    if keys.whole("rope.dimension_count", head) != head:
        raise keys.refuse("rope.dimension_count", f"is not the {head} of a head")
    if keys.header.architecture in HEADS_FILL_ROWS and n_head * head != n_embd:
        raise keys.refuse("attention.head_count", f"is {n_head}, and so many heads of {head} do not make {n_embd}")
    if not keys.has("attention.layer_norm_rms_epsilon"):
        raise keys.refuse("attention.layer_norm_rms_epsilon", "is missing")
    if keys.real("rope.freq_base", 10000.0) <= 0:
        raise keys.refuse("rope.freq_base", "is not positive")
    judge_family_experts(keys, n_layer)
    if keys.header.architecture in LAYER_NEEDS:
        judge_layers(keys, n_layer, tensors)
    for tensor in tensors.values():
        added = tensor.name.endswith(ADDED_OR_MULTIPLIED) or tensor.name in ROPE_FACTORS
        if not (tensor.type.name == "f32" if added else tensor.type.multiplies):
            raise ModelFileError(keys.header.path, f"the tensor {shown(tensor.name)} is {tensor.type.name}, which ggml "
                                 "cannot compute with there")  # fmt: skip


def uniform(keys: Keys, name: str, n_layer: int, default: int = 0) -> int:
    """The number that all layers share: these graphs are built with the first layer's, their cache with each one's."""
    values = keys.per_layer(name, [default] * n_layer)
    if min(values) != max(values) or values[0] == 0:
        raise keys.refuse(name, f"is {values[0]}" if len(set(values)) == 1 else "differs between layers")
    return values[0]


def judge_family_experts(keys: Keys, n_layer: int) -> None:
    n_expert = keys.whole("expert_count", 0)
    if keys.header.architecture in EXPERTS_WANTED and n_expert == 0:
        raise keys.refuse("expert_count", "is missing or 0")
    if n_expert == 0:
        return
    uniform(keys, "expert_used_count", n_layer)
    n_groups = keys.whole("expert_group_count", 0)
    if n_groups > 1 and n_expert // n_groups < 2:
        raise keys.refuse("expert_group_count", f"is {n_groups} for {n_expert} experts: a group has two at least")


def judge_layers(keys: Keys, n_layer: int, tensors: dict[str, TensorInfo]) -> None:
    for layer in range(n_layer - keys.whole("nextn_predict_layers", 0)):
        needs = [{f"blk.{layer}.{name}.weight" for name in names} for names in LAYER_NEEDS[keys.header.architecture]]
        router = f"blk.{layer}.{ROUTER}.weight"
        if router in tensors:
            needs = [names for names in needs if router in names]
        missing = [names - tensors.keys() for names in needs]
        if all(missing):
            raise ModelFileError(keys.header.path, f"it lacks the tensor {min(missing[0])}")
