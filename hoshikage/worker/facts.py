"""What a worker says of the model that it has loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A loaded model."""

    kind: str  # masked, block or causal
    architecture: str
    served_as: str  # the architecture that llama.cpp was told
    description: str
    n_ctx: int  # tokens that one request may have, prompt and answer together
    n_ctx_train: int
    n_vocab: int
    n_params: int
    n_bytes: int  # of its tensors
    has_chat_template: bool
