from typing_extensions import disjoint_base

from hoshikage._canvas import Rule

@disjoint_base
class Factor(Rule):
    def __init__(self, *, factor: float = ..., order_temperature: float = ...) -> None: ...
    @property
    def factor(self) -> float: ...
