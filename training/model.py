"""The transformer behind every nano model, in torch.

One body serves five GGUF architectures (llama, llada, dream, qwen2-like biases, llada-moe): pre-norm, RMSNorm, rotary
positions over the two halves of a head, SwiGLU. Whether a position sees the ones to its right is an argument of the
forward pass, not a property of the weights, so a causal model can be grown into a diffusion model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of a model. `n_expert = 0` means a dense feed-forward layer."""

    n_vocab: int
    d_model: int = 160
    n_layer: int = 6
    n_head: int = 5
    d_ff: int = 448
    n_ctx: int = 512
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    qkv_bias: bool = False
    qk_norm: bool = False
    n_expert: int = 0
    n_expert_used: int = 0

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_head


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary_table(shape: Shape) -> Tensor:
    """cos and sin of every position, (2, n_ctx, d_head): both halves of a head turn by the same angles."""
    frequency = shape.rope_base ** (-torch.arange(0, shape.d_head, 2, dtype=torch.float64) / shape.d_head)
    angle = torch.outer(torch.arange(shape.n_ctx, dtype=torch.float64), frequency)
    angle = torch.cat((angle, angle), dim=-1)
    return torch.stack((angle.cos(), angle.sin())).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turns x (batch, head, position, d_head) by its position."""
    first, second = x.chunk(2, dim=-1)
    return x * table[0] + torch.cat((-second, first), dim=-1) * table[1]


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, sight: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt d) v. On a CPU, and as short as canvases are, written out is 1.4 times as fast as fused."""
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=sight, is_causal=causal)
    score = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        ahead = torch.ones(score.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        score = score.masked_fill(ahead, -torch.inf)
    if sight is not None:
        score = score.masked_fill(~sight, -torch.inf)
    return score.float().softmax(-1).to(v.dtype) @ v


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.d_model
        self.n_head = shape.n_head
        self.q = nn.Linear(d, d, bias=shape.qkv_bias)
        self.k = nn.Linear(d, d, bias=shape.qkv_bias)
        self.v = nn.Linear(d, d, bias=shape.qkv_bias)
        self.out = nn.Linear(d, d, bias=False)
        self.q_norm = RMSNorm(shape.d_head, shape.norm_eps) if shape.qk_norm else None
        self.k_norm = RMSNorm(shape.d_head, shape.norm_eps) if shape.qk_norm else None

    def forward(self, x: Tensor, table: Tensor, causal: bool, sight: Tensor | None = None) -> Tensor:
        batch, length, d = x.shape
        q, k, v = (part(x).view(batch, length, self.n_head, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, table).to(v.dtype), rotate(k, table).to(v.dtype)
        y = attend(q, k, v, causal, sight)
        return self.out(y.transpose(1, 2).reshape(batch, length, d))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.d_model, shape.d_ff, bias=False)
        self.up = nn.Linear(shape.d_model, shape.d_ff, bias=False)
        self.down = nn.Linear(shape.d_ff, shape.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """A routed feed-forward layer: softmax over all experts, the best few weighted by it, not renormalised."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_used = shape.n_expert_used
        self.router = nn.Linear(shape.d_model, shape.n_expert, bias=False)
        self.experts = nn.ModuleList(FeedForward(shape) for _ in range(shape.n_expert))
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        weight = self.router(flat).float().softmax(-1)
        best, chosen = weight.topk(self.n_used, dim=-1)
        self.balance = self._imbalance(weight, chosen)
        share = torch.zeros_like(weight).scatter(-1, chosen, best).to(x.dtype)
        return self._all_at_once(flat, share).view_as(x)

    def _all_at_once(self, x: Tensor, share: Tensor) -> Tensor:
        """Every expert for every row, those without a share times zero: as small as they are, that is quicker than
        to gather the rows of each, and it can be compiled."""
        gate, up = (torch.cat([getattr(expert, name).weight for expert in self.experts]) for name in ("gate", "up"))
        down = torch.cat([expert.down.weight for expert in self.experts], dim=1)
        hidden = functional.silu(functional.linear(x, gate)) * functional.linear(x, up)
        shared = hidden.view(*share.shape, -1) * share.unsqueeze(-1)
        return functional.linear(shared.flatten(1), down)

    def _imbalance(self, weight: Tensor, chosen: Tensor) -> Tensor:
        """1 when the experts share the work evenly (Switch Transformer, eq. 4), more otherwise."""
        n_expert = weight.shape[-1]
        share = functional.one_hot(chosen, n_expert).float().sum(1).mean(0) / self.n_used
        return n_expert * (share * weight.mean(0)).sum()


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(shape.d_model, shape.norm_eps)
        self.attn = Attention(shape)
        self.ffn_norm = RMSNorm(shape.d_model, shape.norm_eps)
        self.ffn = Experts(shape) if shape.n_expert else FeedForward(shape)

    def forward(self, x: Tensor, table: Tensor, causal: bool, sight: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.attn_norm(x), table, causal, sight)
        return x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    """Token ids (batch, position) to logits (batch, position, n_vocab)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.n_vocab, shape.d_model)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.n_layer))
        self.norm = RMSNorm(shape.d_model, shape.norm_eps)
        self.head = nn.Linear(shape.d_model, shape.n_vocab, bias=False)
        self.register_buffer("rotary", rotary_table(shape), persistent=False)
        self.apply(self._initialise)
        for layer in self.layers:
            self._shrink_residual(layer)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.shape.d_model**-0.5 if isinstance(module, nn.Linear) else 0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def _shrink_residual(self, layer: nn.Module) -> None:
        """What is added to the residual stream starts small, so that depth does not blow it up."""
        for name, weight in layer.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5 * (2 * self.shape.n_layer) ** -0.5)

    def forward(self, ids: Tensor, causal: bool = False, sight: Tensor | None = None, n_twins: int = 1) -> Tensor:
        """`sight` [query, key]: neither all nor causal. `n_twins` rows side by side have the same positions."""
        x = self.embed(ids)
        table = self.rotary[:, : ids.shape[1] // n_twins].repeat(1, n_twins, 1)
        for layer in self.layers:
            x = layer(x, table, causal, sight)
        return self.head(self.norm(x))

    def balance(self) -> Tensor:
        """Mean imbalance of the routed layers of the last pass; 0 for a dense model."""
        routed = [layer.ffn.balance for layer in self.layers if isinstance(layer.ffn, Experts)]
        return torch.stack(routed).mean() if routed else torch.zeros(())

    def n_params(self) -> int:
        return sum(p.numel() for p in self.parameters())
