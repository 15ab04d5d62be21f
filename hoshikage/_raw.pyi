from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoshikage._board import Board
from hoshikage._canvas import Forward
from hoshikage._core import Session

PROOF_LENGTH: Final[int]
PROOF_LO: Final[int]
PROOF_RUNG: Final[int]
PROOF_HI: Final[int]
PROOF_TOLERANCE: Final[float]

def logits_of_table(forward: Forward, ids: ArrayLike, mask: ArrayLike | None) -> NDArray[np.float32]: ...
def fill_table(
    forward: Forward, ids: ArrayLike, mask: ArrayLike | None, compute_into: Callable[[NDArray[Any], NDArray[Any]], None]
) -> NDArray[np.float32]: ...
def logits_of_span(
    forward: Forward, stream: int, ids: ArrayLike, lo: int, hi: int, end: int, last: int = ...
) -> NDArray[np.float32]: ...
def fault_of_block_passes(session: Session, board: Board | None = ...) -> str | None: ...
def fault_of_ladders(forward: Forward) -> str | None: ...
def check_ids(forward: Forward, tokens: NDArray[Any]) -> None: ...
def run_of(keep: ArrayLike) -> slice: ...
