"""Random-weight models of real proportions, written once into bench/cache/ (git-ignored)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.tiny import Shape, write

CACHE = Path(__file__).with_name("cache")

# 0.42 B parameters under LLaDA's vocabulary: what a step of the 8 B model spends where, in a file of 450 MB.
LLADA_SMALL = Shape(
    architecture="llada", n_vocab=126_464, n_embd=1024, n_layer=12, n_head=16, n_head_kv=16, n_ff=3072,
    n_ctx_train=4096, weights="Q8_0",
)  # fmt: skip
# The same as a causal model, and one with a vocabulary as llama's: for tokens per second.
LLADA_SMALL_CAUSAL = replace(LLADA_SMALL, architecture="llama", with_mask=False)
# LLaDA-8B itself, for a GPU: 8.5 GB, of which a processor makes a second layer as slowly as the first.
LLADA_8B = Shape(
    architecture="llada", n_vocab=126_464, n_embd=4096, n_layer=32, n_head=32, n_head_kv=32, n_ff=12_288,
    n_ctx_train=4096, weights="Q8_0", alike=True,
)  # fmt: skip
LLAMA_SMALL = Shape(
    architecture="llama", n_vocab=32_000, n_embd=1024, n_layer=12, n_head=16, n_head_kv=16, n_ff=3072,
    n_ctx_train=4096, weights="Q8_0",
)  # fmt: skip


def model(name: str, shape: Shape) -> Path:
    """The file of a shape, made on first use."""
    path = CACHE / f"{name}.gguf"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        print(f"bench: writing {path.name}, once")
        part = path.with_suffix(".part")
        write(part, shape)
        part.replace(path)
    return path
