"""What one step learns from: the loss of a sample, and its gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .model import Transformer
from .objective import Sample
from .objective.block import twin_sight
from .recipe import Recipe

BALANCE_WEIGHT = 0.01


def halves_are_quick(device: str) -> bool:
    """Whether the machine multiplies bfloat16 itself; where it is emulated, a step takes ten times as long."""
    known = torch.cpu.get_capabilities()
    return device == "cuda" or any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def n_twins(recipe: Recipe) -> int:
    """How often a row goes into a pass: a block model's is there clean as well, which is no token more to learn."""
    return 2 if recipe.block_length else 1


def learn(recipe: Recipe, model: Transformer, forward: Callable[..., Tensor], sample: Sample, device: str) -> float:
    """Adds the gradients of one sample to the model's; returns the loss. `forward`: the model, compiled or not."""
    inputs, targets, weight = (
        torch.from_numpy(np.ascontiguousarray(part)).to(device)
        for part in (sample.inputs, sample.targets, sample.weight)
    )
    with torch.autocast(device, torch.bfloat16, enabled=halves_are_quick(device)):
        logits = _logits(recipe, forward, inputs)
    each = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    loss = (each * weight.flatten()).sum() / weight.sum()
    (loss + BALANCE_WEIGHT * model.balance()).backward()
    return float(loss.detach())


def _logits(recipe: Recipe, forward: Callable[..., Tensor], inputs: Tensor) -> Tensor:
    if block := recipe.block_length:
        sight = torch.from_numpy(twin_sight(inputs.shape[1] // n_twins(recipe), block)).to(inputs.device)
        return forward(inputs, sight=sight, n_twins=n_twins(recipe))
    return forward(inputs, recipe.objective.causal)
