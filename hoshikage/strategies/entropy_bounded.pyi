from typing_extensions import disjoint_base

from hoshikage._canvas import Rule

@disjoint_base
class EntropyBounded(Rule):
    def __init__(self, *, bound: float = ..., order_temperature: float = ...) -> None: ...
    @property
    def bound(self) -> float: ...
