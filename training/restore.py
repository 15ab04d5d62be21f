"""Weights back from an exported file: a run can go on where a released model ended, without its checkpoint."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch

from .export import ADJACENT_PAIRS, PARTS, WHOLE, Array
from .grow import Weights
from .recipe import Recipe
from .runs import RUNS, Run


def weights_of(recipe: Recipe, path: Path) -> Weights:
    """The inverse of `export`, up to the rounding of its storage."""
    ours = {theirs: name for name, theirs in WHOLE.items()}
    parts = {theirs: name for name, theirs in PARTS.items()}
    weights: Weights = {}
    for tensor in gguf.GGUFReader(path).tensors:
        value: Array = gguf.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name in ours:
            weights[ours[tensor.name]] = torch.from_numpy(value.copy())
            continue
        _, layer, part, kind = tensor.name.split(".")
        if part.endswith("_exps"):
            name = part.removeprefix("ffn_").removesuffix("_exps")
            for number, expert in enumerate(value):
                weights[f"layers.{layer}.ffn.experts.{number}.{name}.weight"] = torch.from_numpy(expert.copy())
            continue
        if part in ("attn_q", "attn_k") and recipe.architecture in ADJACENT_PAIRS:
            value = _separate(value, recipe.shape.n_head)
        weights[f"layers.{layer}.{parts[part]}.{kind}"] = torch.from_numpy(value.copy())
    return weights


def _separate(weight: Array, n_head: int) -> Array:
    """Reorders the rows of every head from (pair, half) back to (half, pair)."""
    rows: Array = weight.reshape(n_head, -1, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    return np.ascontiguousarray(rows)


def trained(recipe: Recipe, root: Path = RUNS) -> Weights:
    """The weights of a model: of its run if there is one, of the released file otherwise."""
    run = Run.of(recipe.name, root)
    if run.checkpoint.exists():
        weights: Weights = run.load()["model"]
        return weights
    return weights_of(recipe, run.released())
