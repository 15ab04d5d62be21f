from collections.abc import Mapping, Sequence
from typing import Any, Final

from typing_extensions import disjoint_base

from hoshikage.checks import Check

SETTINGS: Final[dict[str, tuple[Check[Any], Any]]]
COLDEST: Final[float]
XTC_MOST: Final[float]
MIROSTAT_TOKENS: Final[int]

@disjoint_base
class Sampler:
    def __init__(
        self,
        *,
        temperature: float = ...,
        top_k: int = ...,
        top_p: float = ...,
        min_p: float = ...,
        typical_p: float = ...,
        seed: int = ...,
        logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ...,
        repetition_penalty: float = ...,
        frequency_penalty: float = ...,
        presence_penalty: float = ...,
        repeat_last_n: int = ...,
        dry_multiplier: float = ...,
        dry_base: float = ...,
        dry_allowed_length: int = ...,
        dry_penalty_last_n: int = ...,
        dry_sequence_breakers: Sequence[str] = ...,
        xtc_probability: float = ...,
        xtc_threshold: float = ...,
        mirostat: int = ...,
        mirostat_tau: float = ...,
        mirostat_eta: float = ...,
        grammar: str | None = ...,
    ) -> None: ...
    @property
    def settings(self) -> dict[str, Any]: ...

@disjoint_base
class Chain:
    @property
    def draws(self) -> bool: ...
