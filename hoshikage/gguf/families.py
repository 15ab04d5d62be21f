"""Families of diffusion models whose files are those of an ordinary architecture: how they are known, and how they run.

A file is of a family when a name in its header, or its own, matches and its vocabulary has the family's mask token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MASKED, BLOCK, CAUSAL = "masked", "block", "causal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the authors of some models have settled. `decoding` holds options of a request."""

    name: str
    pattern: re.Pattern[str]
    architectures: tuple[str, ...]
    kind: str
    mask_token: str
    block_length: int = 0
    sub_block: int = 0
    shift: bool = False
    decoding: Mapping[str, Any] = field(default_factory=dict)

    def block_length_of(self, names: str) -> int:
        """The length that a name ends with (`-b16`), or else the usual one."""
        said = re.search(r"[-_. ]b(\d{1,3})\b", names, re.IGNORECASE)
        return int(said[1]) if said and int(said[1]) > 0 and self.block_length else self.block_length


def _called(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


FAMILIES = (
    Family(
        name="SDAR",
        pattern=_called(r"\bSDAR\b|SDAR[-_]"),
        architectures=("qwen3", "qwen3moe"),
        kind=BLOCK,
        mask_token="<|MASK|>",
        block_length=4,
        decoding={"algorithm": "threshold", "threshold": 0.85, "schedule": "denoising"},
    ),
    Family(
        name="Fast-dLLM v2",
        pattern=_called(r"fast[-_ ]?dllm"),
        architectures=("qwen2",),
        kind=BLOCK,
        mask_token="|<MASK>|",
        block_length=32,
        sub_block=8,
        shift=True,
        decoding={"algorithm": "threshold", "threshold": 0.9, "schedule": "adaptive"},
    ),
    Family(
        name="LLaDA 2.1",
        pattern=_called(r"llada[-_ ]?2\.1"),
        architectures=("bailingmoe2",),
        kind=BLOCK,
        mask_token="<|mask|>",
        block_length=32,
        decoding={"algorithm": "joint_threshold", "threshold": 0.5, "schedule": "adaptive"},
    ),
    Family(
        name="LLaDA 2.0",
        pattern=_called(r"llada[-_ ]?2(\.0)?(?![.\d])"),
        architectures=("bailingmoe2",),
        kind=BLOCK,
        mask_token="<|mask|>",
        block_length=32,
        decoding={"algorithm": "threshold", "threshold": 0.95, "schedule": "denoising"},
    ),
    Family(
        name="Hoshikage nano",
        pattern=_called(r"\bnano-block\b"),
        architectures=("llama",),
        kind=BLOCK,
        mask_token="<|mask|>",
        block_length=8,
        decoding={"algorithm": "in_order", "threshold": 0.98, "schedule": "adaptive"},
    ),
    Family(
        name="Tiny-A2D, blocks",
        pattern=_called(r"bd3lm"),
        architectures=("qwen2", "qwen3"),
        kind=BLOCK,
        mask_token="<|mask|>",
        block_length=32,
        decoding={"algorithm": "low_confidence", "schedule": "denoising"},
    ),
    Family(
        name="Tiny-A2D, masked",
        pattern=_called(r"mdlm"),
        architectures=("qwen2", "qwen3"),
        kind=MASKED,
        mask_token="<|mask|>",
    ),
)
MASK_TOKENS = tuple(dict.fromkeys(family.mask_token for family in FAMILIES))
