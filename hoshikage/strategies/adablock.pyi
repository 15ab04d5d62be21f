from collections.abc import Iterable

from typing_extensions import disjoint_base

from hoshikage._canvas import Ends

@disjoint_base
class Delimited(Ends):
    def __init__(self, delimiters: Iterable[int], *, length: int, longest: int, enough: float = ...) -> None: ...
    @property
    def length(self) -> int: ...
    @property
    def enough(self) -> float: ...
