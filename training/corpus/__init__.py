"""The training data: the tasks' questions as chats, documents with gaps, canvases of every length."""

from .batches import Batch, Stream
from .example import Example, encode_chat, encode_document
from .mix import draw, tokenizer_texts

__all__ = ["Batch", "Example", "Stream", "draw", "encode_chat", "encode_document", "tokenizer_texts"]
