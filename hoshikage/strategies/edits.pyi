from collections.abc import Mapping
from typing import Final

from typing_extensions import disjoint_base

from hoshikage._canvas import RowEdit

LARGEST: Final[float]

@disjoint_base
class Guidance(RowEdit):
    def __init__(self, scale: float) -> None: ...
    @property
    def scale(self) -> float: ...

@disjoint_base
class Bias(RowEdit):
    def __init__(self, bias: Mapping[int, float]) -> None: ...

@disjoint_base
class Repetition(RowEdit):
    def __init__(self, penalty: float) -> None: ...
    @property
    def penalty(self) -> float: ...

@disjoint_base
class Forbid(RowEdit):
    def __init__(self, *tokens: int) -> None: ...
