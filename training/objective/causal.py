"""The next token from those before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..corpus import Batch
from ..tokenizer import EOS, EOT, GAP_MIDDLE, GAP_PREFIX, GAP_SUFFIX
from .base import Sample


@dataclass(frozen=True)
class Causal:
    """All replies count in full, what was asked a little. Documents become gaps: prefix, suffix, then the middle."""

    prompt_weight: float = 0.1
    causal: bool = True

    def sample(self, batch: Batch, rng: np.random.Generator) -> Sample:
        ids, hi, is_reply = batch.ids.copy(), batch.hi.copy(), batch.said
        position = np.arange(ids.shape[1])
        for row in np.flatnonzero(~batch.is_chat):
            lo, hi[row] = self._open_gap(ids[row], int(hi[row]), rng)
            is_reply[row] = (position >= lo) & (position < hi[row])
        weight = np.where(is_reply, 1.0, self.prompt_weight) * (position < hi[:, None])
        return Sample(ids[:, :-1], ids[:, 1:], weight[:, 1:].astype(np.float32))

    @staticmethod
    def _open_gap(row: np.ndarray, n: int, rng: np.random.Generator) -> tuple[int, int]:
        """Rewrites a row in place; returns the span of the middle. A row without room for four more tokens stays."""
        if n + 4 > len(row):
            return 0, n
        first, last = np.sort(rng.integers(0, n + 1, 2))
        prefix, middle, suffix = row[:first].copy(), row[first:last].copy(), row[last:n].copy()
        parts = ([GAP_PREFIX], prefix, [GAP_SUFFIX], suffix, [GAP_MIDDLE], middle, [EOT])
        rewritten = np.concatenate([np.asarray(part, np.int64) for part in parts])
        row[:] = EOS
        row[: len(rewritten)] = rewritten
        return len(rewritten) - len(middle) - 1, len(rewritten)
