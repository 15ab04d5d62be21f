"""Muon for the matrices of the layers, AdamW for all else, and a long way down to a learning rate of zero."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .model import Transformer
from .team import ALONE, Team

WARM_UP = 0.02
DECAY_FROM = 0.35


def lr_factor(progress: float) -> float:
    """Up in the first 2 %, level to 35 %, then straight down to zero: most of the gain comes on the way down."""
    if progress < WARM_UP:
        return max(progress, 1e-4) / WARM_UP
    return min(1.0, (1.0 - progress) / (1.0 - DECAY_FROM))


def orthogonal(matrices: Tensor, n_rounds: int = 5) -> Tensor:
    """Every matrix (number, rows, columns) with its singular values brought near one (Newton and Schulz, quintic)."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(n_rounds):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal (Jordan et al. 2024), as long as AdamW's steps are.

    Matrices of one shape go together, in the precision of the weights: torch's own works in bfloat16 and one by one,
    which on a CPU without such arithmetic takes three times as long as the whole rest of a step. A team shares the
    matrices out: every member has the same gradients.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        team: Team = ALONE,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.team = team

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing here searches along a line
        for group in self.param_groups:
            for alike in self._by_shape(group["params"]):
                updates = self._shared_out(torch.stack([self._pushed(p, group["momentum"]) for p in alike]))
                length = 0.2 * max(updates.shape[-2:]) ** 0.5
                for parameter, update in zip(alike, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * length)

    def _shared_out(self, pushed: Tensor) -> Tensor:
        """All of them made orthogonal, each by one member."""
        mine = slice(self.team.rank, None, self.team.size)
        updates = torch.zeros_like(pushed)
        updates[mine] = orthogonal(pushed[mine])
        self.team.add_up(updates)
        return updates

    @staticmethod
    def _by_shape(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
        for shape in dict.fromkeys(p.shape for p in parameters if p.grad is not None):
            yield [p for p in parameters if p.grad is not None and p.shape == shape]

    def _pushed(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient after Nesterov's momentum."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["mean"] = torch.zeros_like(gradient)
        mean: Tensor = state["mean"]
        mean.lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


class Optimiser:
    """Both optimisers as one; parameters are told apart by their name and shape."""

    def __init__(self, model: Transformer, peak_lr: float, team: Team = ALONE) -> None:
        self.peak_lr = peak_lr
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and name.startswith("layers.") and "router" not in name]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        self.parts: list[torch.optim.Optimizer] = [
            Muon(matrices, peak_lr, team=team),
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
