from typing import Final

from typing_extensions import disjoint_base

from hoshikage._canvas import Forward
from hoshikage._model import Model

FLASH_ATTENTION: Final[dict[str, int]]
CACHE_TYPES: Final[dict[str, int]]
DEFAULT_CTX: Final[int]
PARAMS_A_THREAD: Final[int]
MOST_THREADS: Final[int]
CELL_MULTIPLE: Final[int]
CAUSAL_UBATCH: Final[int]

def usable_cores() -> int: ...
def threads_for(n_params: int) -> int: ...

@disjoint_base
class Context(Forward):
    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int = ...,
        n_seq: int = ...,
        n_rows: int = ...,
        n_tokens: int = ...,
        n_rungs: int = ...,
        n_threads: int = ...,
        n_threads_batch: int = ...,
        flash_attn: str = ...,
        type_k: str = ...,
        type_v: str = ...,
    ) -> None: ...
    @property
    def model(self) -> Model: ...
    def close(self) -> None: ...

def ladders_hold(context: Context) -> bool: ...
