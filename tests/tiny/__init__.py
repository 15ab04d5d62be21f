"""Tiny random-weight GGUF files for the architectures that we serve: `write(path, Shape(...))`."""

from tests.tiny.shape import ARCHITECTURES, CARRIERS, CAUSAL, DIFFUSION, FREE_HEAD_SIZE, NEVER_TIED, Shape
from tests.tiny.vocabulary import BOS, EOS, EOT, MASK, SMALLEST, Vocabulary
from tests.tiny.writer import CHAT_TEMPLATE, write

__all__ = [
    "ARCHITECTURES", "BOS", "CARRIERS", "CAUSAL", "CHAT_TEMPLATE", "DIFFUSION", "EOS", "EOT", "FREE_HEAD_SIZE", "MASK",
    "NEVER_TIED", "SMALLEST", "Shape", "Vocabulary", "write",
]  # fmt: skip
