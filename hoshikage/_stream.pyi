from collections.abc import Iterable
from typing import Final, Literal, SupportsIndex

from typing_extensions import disjoint_base

from hoshikage._sampler import Sampler
from hoshikage.errors import DecodeError

MAX_ID: Final[int]

@disjoint_base
class Stream:
    def __init__(
        self,
        tokens: Iterable[SupportsIndex],
        *,
        max_tokens: int | None = ...,
        sampler: Sampler | None = ...,
        stop_ids: Iterable[SupportsIndex] | None = ...,
    ) -> None: ...
    # what was asked for
    @property
    def prompt(self) -> list[int]: ...
    @property
    def n_prompt(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def sampler(self) -> Sampler: ...
    # where it stands
    @property
    def tokens(self) -> list[int]: ...
    def tail(self, lo: int) -> list[int]: ...
    @property
    def logprobs(self) -> list[float]: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def n_passes(self) -> int: ...
    @property
    def n_prompt_computed(self) -> int: ...
    @property
    def done(self) -> bool: ...
    @property
    def stop_reason(self) -> Literal["stop", "length", "error"] | None: ...
    @property
    def error(self) -> DecodeError | None: ...
