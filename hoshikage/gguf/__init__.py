"""GGUF headers: read, judge, rewrite. Weights are never touched here.

`inspect` refuses, with a sentence, every file that would end the process inside llama.cpp instead of failing.
`kind_of` says how a model is to be run, `splitting_of` how its texts are cut into words. `retag` rewrites a diffusion
model's header as that of its causal twin, which has a KV cache.
"""

from __future__ import annotations

from hoshikage.errors import AnyPath, ModelFileError
from hoshikage.gguf.header import Array, Header, TensorInfo, TensorType
from hoshikage.gguf.judge import judge_model
from hoshikage.gguf.kind import Kind, Wish, check_said, kind_of
from hoshikage.gguf.reader import read
from hoshikage.gguf.split import other_parts
from hoshikage.gguf.splitting import splitting_of
from hoshikage.gguf.twins import Retagged, retag

__all__ = [
    "Array", "Header", "Kind", "ModelFileError", "Retagged", "TensorInfo", "TensorType", "Wish", "check_said",
    "inspect", "kind_of", "retag", "splitting_of",
]  # fmt: skip


def inspect(path: AnyPath) -> Header:
    """The header of a model that llama.cpp can be given; raises ModelFileError. Reads the header and no weights."""
    header = read(path)
    judge_model(header, other_parts(header))
    return header
