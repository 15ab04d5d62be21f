from typing import Final

from typing_extensions import disjoint_base

from hoshikage._canvas import Plan

EVERYTHING: Final[int]

@disjoint_base
class Local(Plan):
    def __init__(
        self,
        *,
        before: int | None = ...,
        behind: int | None = ...,
        window: int | None = ...,
        warm_up: int = ...,
        refresh: int = ...,
        whole: bool = ...,
    ) -> None: ...
    @property
    def before(self) -> int: ...
    @property
    def behind(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def warm_up(self) -> int: ...
    @property
    def refresh(self) -> int: ...
    @property
    def whole(self) -> bool: ...

def checked(name: str, value: int | None) -> int: ...
