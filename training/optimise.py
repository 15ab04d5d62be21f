"""Muon for the matrices of the layers, AdamW for all else, and a long way down to a learning rate of zero."""

from __future__ import annotations

import torch
from torch import nn

from .model import Transformer

WARM_UP = 0.02
DECAY_FROM = 0.35


def lr_factor(progress: float) -> float:
    """Up in the first 2 %, level to 35 %, then straight down to zero: most of the gain comes on the way down."""
    if progress < WARM_UP:
        return max(progress, 1e-4) / WARM_UP
    return min(1.0, (1.0 - progress) / (1.0 - DECAY_FROM))


class Optimiser:
    """Both optimisers as one; parameters are told apart by their name and shape."""

    def __init__(self, model: Transformer, peak_lr: float) -> None:
        self.peak_lr = peak_lr
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and name.startswith("layers.") and "router" not in name]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=peak_lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=peak_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]
        self.parameters = [p for _, p in named]

    def step(self, progress: float) -> float:
        """Applies the gradients; returns the learning rate used."""
        lr = self.peak_lr * lr_factor(progress)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)
        return lr

    def state_dict(self) -> list[dict[str, object]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, object]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
