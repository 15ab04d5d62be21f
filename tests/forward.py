"""An independent forward pass: the logits of a GGUF file in NumPy float64, for the architectures that we serve.

Written from the models' definitions (RMSNorm, rotary positions, grouped-query attention, SwiGLU, routed experts), to
judge the engine's logits; slow. A `Cache` keeps keys and values as a plan leaves them. Where llama.cpp's graph departs
from the definitions, a comment says so.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONSECUTIVE_ROPE = ("llada", "llama")  # rotates pairs (0, 1), (2, 3)...; the others (0, n/2), (1, n/2 + 1)...
RENORMALISED_EXPERTS = ("rnd1", "qwen3moe")  # the weights of the chosen experts sum to 1; llada-moe's do not
SIGMOID = 2  # of expert_gating_func
SMALLEST_WEIGHT_SUM = 2.0**-14  # llama.cpp's guard against a zero sum: the smallest normal F16


class Network:
    """The hyperparameters and the weights, dequantised once."""

    def __init__(self, reader: GGUFReader) -> None:
        self.architecture: str = reader.fields["general.architecture"].contents()
        self._fields = reader.fields
        self.tensors = {t.name: dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors}
        self.n_layer = int(self.setting("block_count"))
        self.n_head = int(self.setting("attention.head_count"))
        self.n_head_kv = int(self.setting("attention.head_count_kv", self.n_head))
        self.n_embd_head = int(self.setting("attention.key_length", self.setting("embedding_length") // self.n_head))
        self.n_rot = int(self.setting("rope.dimension_count", self.n_embd_head))
        self.eps = float(self.setting("attention.layer_norm_rms_epsilon"))
        self.rope_base = float(self.setting("rope.freq_base", 10_000.0))
        self.n_expert_used = int(self.setting("expert_used_count", 0))
        self.causal = bool(self.setting("attention.causal", True))

    def setting(self, name: str, default: Any = None) -> Any:
        entry = self._fields.get(f"{self.architecture}.{name}")
        return default if entry is None else entry.contents()

    def linear(self, x: Floats, name: str) -> Floats:
        """x W^T (+ b where the file has one)."""
        y: Floats = x @ self.tensors[f"{name}.weight"].T
        bias = self.tensors.get(f"{name}.bias")
        return y if bias is None else y + bias

    def norm(self, x: Floats, name: str) -> Floats:
        size: Floats = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return x / size * self.tensors[f"{name}.weight"]


@lru_cache(maxsize=32)
def network_of(path: str, _modified_ns: int) -> Network:
    return Network(GGUFReader(path))


class Cache:
    """Keys (rotated) and values of every layer, of the pass that computed a position last."""

    def __init__(self) -> None:
        self.layers: dict[str, tuple[Floats, Floats]] = {}
        self.lo, self.hi, self.end = 0, 0, 0

    def merged(self, layer: str, k: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Those of [lo, hi) are new, those around them old; what lies behind `end` is forgotten."""
        old = self.layers.get(layer, (k[:0], v[:0]))
        new = [np.concatenate([o[: self.lo], n, o[self.hi : self.end]]) for o, n in zip(old, (k, v), strict=True)]
        assert len(new[0]) == self.end, "the cache lacks something that the span leaves to it"
        self.layers[layer] = (new[0], new[1])
        return self.layers[layer]


class CachedNetwork:
    """A file as the oracle's network: a cache for each stream."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.caches: dict[int, Cache] = {}

    def __call__(self, canvases: NDArray[Any], lo: int = 0, hi: int | None = None, end: int | None = None) -> Floats:
        rows = [self.one(stream, canvas, lo, hi, end) for stream, canvas in enumerate(canvases)]
        return np.stack(rows)

    def one(self, stream: int, canvas: NDArray[Any], lo: int, hi: int | None, end: int | None) -> Floats:
        """float64[n, n_vocab], NaN where nothing was computed."""
        cache = self.caches.setdefault(stream, Cache())
        cache.end = len(canvas) if end is None else end
        cache.lo, cache.hi = lo, cache.end if hi is None else hi
        logits = forward(self.path, canvas[lo : cache.hi], causal=False, cache=cache)
        out = np.full((len(canvas), logits.shape[-1]), np.nan)
        out[lo : cache.hi] = logits
        return out


def block_mask(n: int, length: int) -> NDArray[np.bool_]:
    """[n, n]: who is in block i sees all blocks up to i. Blocks are counted from the first token."""
    block = np.arange(n) // length
    mask: NDArray[np.bool_] = block[:, None] >= block[None, :]
    return mask


class BlockNetwork:
    """A file as the network of block decoding: no cache at all, everything that is seen is computed anew each time."""

    def __init__(self, path: Path | str, length: int) -> None:
        self.path, self.length = path, length

    def __call__(self, canvases: NDArray[Any], lo: int, hi: int, end: int) -> Floats:
        seen = block_mask(end, self.length)
        rows = [forward(self.path, canvas[:end], causal=False, allowed=seen)[lo:hi] for canvas in canvases]
        out = np.full((*canvases.shape, rows[0].shape[-1]), np.nan)
        out[:, lo:hi] = rows
        return out


def forward(
    model: Network | GGUFReader | Path | str,
    tokens: ArrayLike,
    causal: bool | None = None,
    allowed: NDArray[np.bool_] | None = None,
    cache: Cache | None = None,
) -> Floats:
    """float64[n, n_vocab]. `causal`: as the file says where None; `allowed` [n, n]: query i may look at key j.

    With a cache the tokens are those of its span, and look at everything that it holds.
    """
    if isinstance(model, (str, Path)):
        model = network_of(str(model), Path(model).stat().st_mtime_ns)
    net = Network(model) if isinstance(model, GGUFReader) else model
    ids = np.asarray(tokens, dtype=np.int64)
    n_keys = len(ids) if cache is None else cache.end
    may_look = np.ones((len(ids), n_keys), bool) if allowed is None else np.array(allowed, dtype=bool)
    if net.causal if causal is None else causal:
        may_look = np.tril(may_look)
    embedding = net.tensors["token_embd.weight"]
    x = embedding[ids]
    for i in range(net.n_layer):
        x = x + attention(net, f"blk.{i}", net.norm(x, f"blk.{i}.attn_norm"), may_look, cache)
        x = x + feed_forward(net, f"blk.{i}", net.norm(x, f"blk.{i}.ffn_norm"))
    x = net.norm(x, "output_norm")
    return net.linear(x, "output") if "output.weight" in net.tensors else x @ embedding.T


def attention(net: Network, layer: str, x: Floats, may_look: NDArray[np.bool_], cache: Cache | None = None) -> Floats:
    n = len(x)
    q, k, v = (part.reshape(n, -1, net.n_embd_head) for part in queries_keys_values(net, layer, x))
    if f"{layer}.attn_q_norm.weight" in net.tensors:  # per head, before the rotation
        q, k = net.norm(q, f"{layer}.attn_q_norm"), net.norm(k, f"{layer}.attn_k_norm")
    first = 0 if cache is None else cache.lo
    q, k = rotate(net, q, first), rotate(net, k, first)
    if cache is not None:
        k, v = cache.merged(layer, k, v)
    k, v = (np.repeat(t, net.n_head // net.n_head_kv, axis=1) for t in (k, v))
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(net.n_embd_head)
    weights = softmax(np.where(may_look, scores, -np.inf))
    mixed = np.einsum("hij,jhd->ihd", weights, v).reshape(n, -1)
    return net.linear(mixed, f"{layer}.attn_output")


def queries_keys_values(net: Network, layer: str, x: Floats) -> list[Floats]:
    """Of one matrix, where the three are one."""
    if f"{layer}.attn_qkv.weight" not in net.tensors:
        return [net.linear(x, f"{layer}.attn_{name}") for name in "qkv"]
    sizes = np.cumsum([net.n_head, net.n_head_kv]) * net.n_embd_head
    return np.split(net.linear(x, f"{layer}.attn_qkv"), sizes, axis=-1)


def rotate(net: Network, x: Floats, first: int = 0) -> Floats:
    """Rotary position embedding of x [n, heads, size]; position p turns pair i by p base^(-2 i / size).

    The positions count from `first`. Where only a part of a head is rotated, it is the first.
    """
    x, unturned = x[..., : net.n_rot], x[..., net.n_rot :]
    half = net.n_rot // 2
    angle = np.arange(first, first + len(x))[:, None] * net.rope_base ** (-np.arange(half) / half)
    turn = np.exp(1j * angle)[:, None, :]
    if net.architecture in CONSECUTIVE_ROPE:
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        pairs = np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)
        return np.concatenate([pairs, unturned], axis=-1)
    turned = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([turned.real, turned.imag, unturned], axis=-1)


def feed_forward(net: Network, layer: str, x: Floats) -> Floats:
    if f"{layer}.ffn_gate_inp.weight" not in net.tensors:
        hidden = silu(net.linear(x, f"{layer}.ffn_gate")) * net.linear(x, f"{layer}.ffn_up")
        return net.linear(hidden, f"{layer}.ffn_down")
    return routed_experts(net, layer, x)


def routed_experts(net: Network, layer: str, x: Floats) -> Floats:
    """Each row goes to its n_expert_used most probable experts, weighted by the softmax over all of them."""
    logits = net.linear(x, f"{layer}.ffn_gate_inp")
    p = 1.0 / (1.0 + np.exp(-logits)) if net.setting("expert_gating_func", 1) == SIGMOID else softmax(logits)
    chosen = np.argsort(-eligible(net, layer, p), axis=-1, kind="stable")[:, : net.n_expert_used]
    weights = np.take_along_axis(p, chosen, axis=-1)
    if net.architecture in RENORMALISED_EXPERTS or net.setting("expert_weights_norm", False):
        weights = weights / np.maximum(weights.sum(-1, keepdims=True), SMALLEST_WEIGHT_SUM)
    weights = weights * float(net.setting("expert_weights_scale", 1.0))
    gate, up, down = (net.tensors[f"{layer}.ffn_{name}_exps.weight"] for name in ("gate", "up", "down"))
    y = np.zeros_like(x)
    for row in range(len(x)):
        for expert, weight in zip(chosen[row], weights[row], strict=True):
            hidden = silu(gate[expert] @ x[row]) * (up[expert] @ x[row])
            y[row] += weight * (down[expert] @ hidden)
    if f"{layer}.ffn_gate_shexp.weight" in net.tensors:  # the expert that every row goes to
        hidden = silu(net.linear(x, f"{layer}.ffn_gate_shexp")) * net.linear(x, f"{layer}.ffn_up_shexp")
        y = y + net.linear(hidden, f"{layer}.ffn_down_shexp")
    return y


def eligible(net: Network, layer: str, p: Floats) -> Floats:
    """By what experts are chosen: with a bias, and -inf outside the groups whose two best experts are best."""
    scores = p + net.tensors.get(f"{layer}.exp_probs_b.bias", 0.0)
    n_groups = int(net.setting("expert_group_count", 0))
    if n_groups <= 1:
        return scores
    groups = scores.reshape(len(p), n_groups, -1)
    value = np.sort(groups, axis=-1)[..., -2:].sum(-1)
    best = np.argsort(-value, axis=-1, kind="stable")[:, : int(net.setting("expert_group_used_count"))]
    kept = np.zeros((len(p), n_groups, 1), bool)
    np.put_along_axis(kept, best[..., None], True, axis=1)
    return np.where(kept, groups, -np.inf).reshape(p.shape)


def silu(x: Floats) -> Floats:
    y: Floats = x / (1.0 + np.exp(-x))
    return y


def softmax(x: Floats) -> Floats:
    weights: Floats = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return weights / np.sum(weights, axis=-1, keepdims=True, dtype=np.float64)
