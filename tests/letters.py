"""A byte-level vocabulary in a few lines: token b is the byte b, special tokens come behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence

BOS, EOS, EOT, MASK = "<s>", "</s>", "<|eot|>", "<|mask|>"
SPECIALS = (BOS, EOS, EOT, MASK)


class Letters:
    """What a model's tokenizer promises, for tests that need no model."""

    def __init__(self, specials: Sequence[str] = SPECIALS, *, add_bos: bool = True) -> None:
        self.specials = {text: 256 + i for i, text in enumerate(specials)}
        self.texts = {token: text for text, token in self.specials.items()}
        self.n_vocab = 256 + len(specials)
        self.bos_id = self.specials.get(BOS, -1)
        self.eos_id = self.specials.get(EOS, -1)
        self.add_bos = add_bos
        longest_first = sorted(map(re.escape, specials), key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(longest_first)})")

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        parts = self._cut.split(text) if parse_special else [text]
        ids = [
            [self.specials[part]] if parse_special and part in self.specials else list(part.encode()) for part in parts
        ]
        return [self.bos_id] * (add_special and self.add_bos) + [token for part in ids for token in part]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token < 256:
            return bytes([token])
        return self.texts[token].encode() if special else b""

    def show(self, ids: Sequence[int]) -> str:
        """Ids as text, special tokens in brackets: what is special can be told from what only looks so."""
        parts = [f"[{self.texts[token]}]".encode() if token in self.texts else bytes([token]) for token in ids]
        return b"".join(parts).decode()
