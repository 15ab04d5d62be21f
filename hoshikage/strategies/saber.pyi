from typing_extensions import disjoint_base

from hoshikage._canvas import Rule

@disjoint_base
class Saber(Rule):
    def __init__(self, *, least: int = ..., order_temperature: float = ...) -> None: ...
    @property
    def least(self) -> int: ...
