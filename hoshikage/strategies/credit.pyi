from typing_extensions import disjoint_base

from hoshikage._canvas import RowEdit

@disjoint_base
class Credit(RowEdit):
    def __init__(self, n: int) -> None: ...
    @property
    def n(self) -> int: ...
