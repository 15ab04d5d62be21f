from typing_extensions import disjoint_base

from hoshikage._canvas import Rule

@disjoint_base
class InOrder(Rule):
    def __init__(self, *, threshold: float = ..., order_temperature: float = ...) -> None: ...
    @property
    def threshold(self) -> float: ...
