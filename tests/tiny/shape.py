"""What a tiny model is: everything that its GGUF file depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DIFFUSION = ("llada", "dream", "llada-moe", "rnd1")
CAUSAL = ("llama", "qwen2", "qwen3", "qwen3moe")
CARRIERS = ("llama", "qwen2", "qwen3", "qwen3moe")  # run as block and masked models, too
ARCHITECTURES = DIFFUSION + CAUSAL

MOE = ("llada-moe", "rnd1", "qwen3moe")
QK_NORM = ("llada-moe", "rnd1", "qwen3", "qwen3moe")
QKV_BIAS = ("dream", "qwen2")
FREE_HEAD_SIZE = ("llada", "rnd1", "llama", "qwen3", "qwen3moe")  # the others need n_head * head size = n_embd
NEVER_TIED = ("llada-moe",)
SHIFTED = ("dream", "rnd1")  # row i - 1 predicts position i; said by the absence of diffusion.shift_logits
PRE_TOKENIZER = {"llada": "gpt-2", "llada-moe": "gpt-2", "llama": "gpt-2"}  # the others: qwen2


@dataclass(frozen=True)
class Shape:
    architecture: str = "llada"
    n_layer: int = 2
    n_embd: int = 64  # Q8_0 wants multiples of 32
    n_head: int = 4
    n_head_kv: int = 2
    head_size: int = 0  # 0: n_embd / n_head
    n_ff: int = 96  # of one expert where there are experts
    n_expert: int = 6
    n_expert_used: int = 2
    n_vocab: int = 300
    n_ctx_train: int = 512
    rope_base: float = 10_000.0
    tied: bool = False
    weights: str = "F32"  # F32, F16, Q8_0: the matrices; vectors are always F32
    chat_template: str | None = None
    pre: str | None = None  # how texts are split into words; None: as PRE_TOKENIZER says
    add_bos: bool | None = None  # None: as the architecture's converter writes it
    with_mask: bool = True
    mask_text: str | None = None  # how the mask token is written; None: as LLaDA writes it
    with_expand: bool = False  # has DreamOn's token, so that it finds the length of a gap
    seed: int = 0
    alike: bool = False  # every layer is the first one again: a large file is soon written
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)  # further keys; bool, int, float, str, [int]

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {self.architecture}; there are {', '.join(ARCHITECTURES)}")
        if self.architecture not in FREE_HEAD_SIZE and self.head_size not in (0, self.n_embd // self.n_head):
            raise ValueError(f"{self.architecture} has no head size of its own")
        if self.tied and self.architecture in NEVER_TIED:
            raise ValueError(f"{self.architecture} is never tied")

    @property
    def n_embd_head(self) -> int:
        return self.head_size or self.n_embd // self.n_head

    @property
    def is_diffusion(self) -> bool:
        return self.architecture in DIFFUSION
