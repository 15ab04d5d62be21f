from typing import Any

from typing_extensions import disjoint_base

from hoshikage._board import Board

__all__ = ["Running"]

@disjoint_base
class Running:
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...
    def step(self, board: Board | None = ...) -> list[Any]: ...
    def run(self, board: Board | None = ..., max_steps: int = ...) -> list[Any]: ...
