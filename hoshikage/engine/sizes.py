"""How large sessions are. A process that loads nothing reckons from these numbers what a load will take of memory."""

from __future__ import annotations

SHARED_CELLS = {"masked": 4096, "block": 8192, "causal": 8192}  # positions that answers share, unless one is longer
SHORT_CELLS = 512  # positions that stay free beside the longest answer: a short one need not wait for its end
SMALLEST = 256  # positions: llama.cpp's own granularity
COARSE = 1024  # up to here sizes double
MOST_ROWS = 512  # of a block, where they take more than what follows: twice a usual answer
LARGEST_LOGITS = 1 << 28  # bytes that rows of logits may take when their number is ours to choose


def rounded_up(n_cells: int) -> int:
    """Coarse sizes, so that requests which grow little by little do not reopen the context each time."""
    if n_cells > COARSE:
        return -(-n_cells // COARSE) * COARSE
    return max(SMALLEST, 1 << (n_cells - 1).bit_length())


def most_rows(n_vocab: int) -> int:
    """Rows that a block may have: their logits are what memory is kept for, whatever the answer's length."""
    return max(MOST_ROWS, rows_in_memory(n_vocab))


def rows_in_memory(n_vocab: int) -> int:
    """Rows whose logits are not too large."""
    return LARGEST_LOGITS // (4 * n_vocab)
