from typing import Final, final

MOST: Final[int]

@final
class Tops:
    def __init__(self, k: int) -> None: ...
    @property
    def k(self) -> int: ...
    def at(self, place: int) -> list[tuple[int, float]]: ...
