from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

from hoshikage._canvas import Canvas, Plan
from hoshikage._core import Session

__all__ = ["BlockCanvas", "BlockSession"]

class Blockwise(Plan): ...

@disjoint_base
class BlockCanvas(Canvas):
    def __init__(
        self,
        prompt: Iterable[int],
        *,
        max_tokens: int,
        grid: int,
        sub_block: int = ...,
        stop_ids: Iterable[int] = ...,
        mask_id: int,
        steps: int = ...,
        **options: Any,
    ) -> None: ...
    @property
    def grid(self) -> int: ...
    @property
    def n_prompt(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def clean(self) -> int: ...
    @property
    def n_reused(self) -> int: ...

@disjoint_base
class BlockSession(Session):
    def logits(self, ids: ArrayLike, mask: ArrayLike | None = ...) -> NDArray[np.float32]: ...
