from typing import Any

from typing_extensions import disjoint_base

from hoshikage._canvas import Forward
from hoshikage.gguf import Kind

@disjoint_base
class FakeContext(Forward):
    passes_left: int
    def __init__(
        self,
        model: FakeModel,
        *,
        n_ctx: int = ...,
        n_seq: int = ...,
        n_rows: int = ...,
        n_tokens: int = ...,
        n_rungs: int = ...,
        n_threads: int = ...,
    ) -> None: ...
    @property
    def model(self) -> Any: ...
    @property
    def rows_computed(self) -> int: ...
    def close(self) -> None: ...

class FakeModel:
    is_diffusion: bool
    native: bool
    patches: bool
    architecture: str
    served_as: str
    path: str
    n_vocab: int
    salt: int
    shift: bool
    block_length: int
    kind: Kind
    mask_id: int
    eos_id: int
    eot_id: int
    bos_id: int
    metadata: dict[str, str]
    def __init__(self, n_vocab: int = ..., *, salt: int = ..., shift: bool = ..., block_length: int = ...) -> None: ...
    def open_context(self, **options: Any) -> FakeContext: ...
