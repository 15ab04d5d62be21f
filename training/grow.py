"""The start of one model from the weights of another."""

from __future__ import annotations

import torch
from torch import Tensor

from .model import Transformer

Weights = dict[str, Tensor]


def grow(model: Transformer, source: Weights) -> None:
    """Copies every weight that has a counterpart. New biases start at zero, new norms at one, so that a dense model
    begins as its source; experts are slices of the source's feed-forward layer, which they share out between them."""
    target = model.state_dict()
    if model.shape.n_expert:
        source = {**source, **_split_into_experts(source, target, model.shape.n_expert)}
    shared = {name: source[name] for name in target if name in source}
    strange = [name for name, value in shared.items() if value.shape != target[name].shape]
    if strange:
        raise ValueError(f"cannot grow: {', '.join(strange)} differ in shape from the source's")
    model.load_state_dict(shared, strict=False)


def _split_into_experts(source: Weights, target: Weights, n_expert: int) -> Weights:
    """Expert e takes d_ff hidden units, spread evenly over the source's, wrapping round when they run out.

    The router starts near even, each of n_expert experts with weight about 1/n_expert: `down` is scaled by n_expert,
    so that the experts that cover the source's units once add up to the source's layer.
    """
    experts: Weights = {}
    for name, value in target.items():
        if ".experts." not in name:
            continue
        prefix, rest = name.split(".experts.")
        number, part = rest.split(".", 1)
        whole = source[f"{prefix}.{part}"]
        axis = 1 if part.startswith("down") else 0
        n_hidden, width = whole.shape[axis], value.shape[axis]
        units = (torch.arange(width) * max(1, n_hidden // width) + int(number)) % n_hidden
        experts[name] = whole.index_select(axis, units) * (n_expert if axis == 1 else 1)
    return experts
