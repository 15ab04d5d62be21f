"""How large sessions are. A process that loads nothing reckons from these numbers what a load will take of memory."""

from __future__ import annotations

SHARED_CELLS = {"masked": 4096, "block": 8192, "causal": 8192}  # positions that answers share, unless one is longer
SHARES = {"masked": 256, "block": 512, "causal": 512}  # tokens that positions are kept for at first, then twice as many
SHORT_CELLS = 512  # positions that stay free beside the longest answer: a short one need not wait for its end
SHORT_ROWS = 64  # rows that stay free beside the longest block: two usual ones, or one under guidance
SMALLEST = 256  # positions: llama.cpp's own granularity
COARSE = 1024  # positions; up to here sizes double
BOTH_CANVASES = 2048  # positions of a pass up to which it holds both canvases of a request under guidance
MOST_ROWS = 512  # of a block, where they take more than what follows: twice a usual answer
LARGEST_LOGITS = 1 << 28  # bytes that rows of logits may take when their number is ours to choose


def rounded_up(n_cells: int) -> int:
    """Coarse sizes, so that requests which grow little by little do not reopen the context each time."""
    if n_cells > COARSE:
        return -(-n_cells // COARSE) * COARSE
    return max(SMALLEST, 1 << (n_cells - 1).bit_length())


def cells_for(n_each: int, n_together: int, shared_cells: int) -> int:
    """Positions for so many answers, as far as they are worth one pass together: short ones always are."""
    return min(n_each * n_together, max(n_each + SHORT_CELLS, shared_cells))


def most_cells(kind: str, n_ctx: int, n_seq: int, n_streams: int = 1) -> int:
    """Positions that a session for requests of `n_ctx` tokens has at most: memory is kept for as many.

    `n_streams` is how many canvases each of them takes where nothing else is said.
    """
    return rounded_up(max(1, cells_for(n_ctx * n_streams, n_seq, SHARED_CELLS[kind])))


def most_tokens(n_ctx: int, n_streams: int = 1) -> int:
    """Positions that one pass of a masked model computes at most: a whole request's, however many share the session.
    Where that is little, both canvases of one that asks for guidance by itself."""
    return rounded_up(max(n_ctx * n_streams, min(2 * n_ctx, BOTH_CANVASES)))


def guided_ctx(n_ctx: int, n_cells: int, n_tokens: int, n_seq: int) -> int:
    """Tokens that a request under guidance may have: its two canvases go through in one pass, and a short answer has
    room beside them."""
    spare = min(SHORT_CELLS, n_ctx) if n_seq > 1 else 0
    return min(n_ctx, n_tokens // 2, (n_cells - spare) // 2)


def streams_of(cfg_scale: float) -> int:
    """Canvases of a request: guidance compares what is said with the prompt and without it."""
    return 2 if cfg_scale > 0 else 1


def most_rows(n_vocab: int, n_streams: int = 1) -> int:
    """Rows that a block may have: their logits are what memory is kept for, whatever the answer's length."""
    return (rows_of_pass(n_vocab) - SHORT_ROWS) // n_streams


def rows_of_pass(n_vocab: int) -> int:
    """Rows that a pass returns at most: a long block's and a short one's, and more where their logits are small."""
    return max(MOST_ROWS + SHORT_ROWS, LARGEST_LOGITS // (4 * n_vocab))
