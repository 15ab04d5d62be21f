"""Raw logits: of whole sequences, of one pass as a plan would ask for it, and the proof that block passes work.

The context is one that nothing else uses meanwhile.
"""

from libc.stdint cimport int32_t
from libc.string cimport memcpy

from hoshikage._canvas cimport Forward, Span

from functools import partial

import numpy as np

from hoshikage.errors import Cancelled, ContextOverflowError, HoshikageError, ParameterError

PROOF_LENGTH = 12               # positions of the proof, and its block
PROOF_LO, PROOF_HI = 4, 8
PROOF_RUNG = 2
# Of the change that other tokens in the block make: below this two passes are the same but for rounding, 16-bit keys
# and values included. A cell that is left out or attended to twice changes as much as other tokens do.
PROOF_TOLERANCE = 0.1


def logits_of_table(Forward forward, ids, mask):
    """Logits of every position of every row of `ids`; where `mask` is false there is padding, and NaN."""
    def compute_all(row, out):
        compute(forward, 0, row, 0, len(row), len(row), out)

    return fill_table(forward, ids, mask, compute_all)


def fill_table(Forward forward, ids, mask, compute_into):
    """The same, `compute_into(row, out)` being how the logits of one sequence without padding are come by."""
    tokens = np.atleast_2d(ids)
    real = np.ones(tokens.shape, bool) if mask is None else np.atleast_2d(mask).astype(bool)
    if tokens.ndim != 2 or real.shape != tokens.shape:
        raise ParameterError("mask", f"its shape {real.shape} is not that of ids {tokens.shape}", "make them equal")
    check_ids(forward, tokens)
    out = np.full((*tokens.shape, forward.n_vocab), np.nan, np.float32)
    for row, keep, result in zip(tokens, real, out):
        run = run_of(keep)
        if run.stop > run.start:
            compute_into(np.ascontiguousarray(row[run], np.int32), result[run])
            forward.forget(0)
    return out


def logits_of_span(Forward forward, int32_t stream, ids, int32_t lo, int32_t hi, int32_t end, int32_t last=0):
    """Logits of [lo, hi), or of its `last` positions; the rest up to `end` from the cache of that stream."""
    tokens = np.asarray(ids)
    if not (tokens.ndim == 1 and 0 <= lo < hi <= end <= tokens.size):
        raise ParameterError("ids", f"{lo}, {hi}, {end} is no span of them", "use 0 <= lo < hi <= end <= len(ids)")
    if not (forward.caches or lo == 0) or not (forward.patches or hi == end):
        raise ParameterError("lo", "this context keeps nothing of what the span leaves out", "compute the whole canvas")
    if not 0 <= stream < forward.n_streams:
        raise ParameterError("stream", f"there is no stream {stream}", f"use 0 to {forward.n_streams - 1}")
    check_ids(forward, tokens)
    if not 0 <= last <= hi - lo:
        raise ParameterError("last", f"{last} are no rows of {hi - lo}", "use 0 for all")
    out = np.empty((last or hi - lo, forward.n_vocab), np.float32)
    compute(forward, stream, np.ascontiguousarray(tokens, np.int32), lo, hi, end, out)
    return out


def fault_of_block_passes(session, board=None):
    """Why a pass over a block alone cannot be used in such a session; None: it can.

    Both keys and values before and behind the block must be seen as they are, and the block's own only once: so a
    block that was changed and changed back has to give what an ordinary pass to the end of the canvas gave.
    Raises Cancelled when the board says so: that proves nothing.
    """
    if not session.forward.patches:
        return "the context keeps nothing behind the block"
    n_vocab = session.forward.n_vocab
    first, second = ([(i * step + 1) % n_vocab for i in range(PROOF_LENGTH)] for step in (3, 5))
    changed = [*first[:PROOF_LO], *second[PROOF_LO:PROOF_HI], *first[PROOF_HI:]]
    again = [*first[:PROOF_LO], *second[:PROOF_HI - PROOF_LO], *first[PROOF_HI:]]
    compute_one = partial(session.pass_by_hand, board=board)
    try:
        compute_one(first, 0, PROOF_LENGTH, PROOF_LENGTH)
        wanted = compute_one(changed, PROOF_LO, PROOF_LENGTH, PROOF_LENGTH)[:PROOF_HI - PROOF_LO]
        other = compute_one(again, PROOF_LO, PROOF_HI, PROOF_LENGTH)
        got = compute_one(changed, PROOF_LO, PROOF_HI, PROOF_LENGTH)
    except Cancelled:
        raise
    except HoshikageError as error:
        return f"llama.cpp refused one: {error.cause}"
    finally:
        session.forget()
    change, difference = (float(np.abs(rows - wanted).max()) for rows in (other, got))
    if not difference <= PROOF_TOLERANCE * change:
        return f"its logits differ by {difference:.3g} where other tokens differ by {change:.3g}"
    return None


def fault_of_ladders(Forward forward):
    """Why blocks cannot go through in one pass, each of which sees nothing of those behind it; None: they can.

    The measure is what it changes in the last one when they see each other.
    """
    n = forward.n_rungs * PROOF_RUNG
    tokens = np.array([(i * 3 + 1) % forward.n_vocab for i in range(n)], np.int32)
    alone, ladder, large = (np.empty((n, forward.n_vocab), np.float32) for _ in range(3))
    try:
        for lo in range(0, n, PROOF_RUNG):
            compute(forward, 0, tokens, lo, lo + PROOF_RUNG, lo + PROOF_RUNG, alone[lo:])
        forward.forget(0)
        compute(forward, 0, tokens, 0, n, n, large)
        forward.forget(0)
        compute(forward, 0, tokens, 0, n, n, ladder, PROOF_RUNG)
    except HoshikageError as error:
        return f"llama.cpp refused one: {error.cause}"
    finally:
        forward.forget(0)
    change, difference = (float(np.abs(rows - alone)[n - PROOF_RUNG:].max()) for rows in (large, ladder))
    if not difference <= PROOF_TOLERANCE * change:
        return f"its logits differ by {difference:.3g} where those of one large block differ by {change:.3g}"
    return None


cdef compute(Forward forward, int32_t stream, const int32_t[::1] tokens, int32_t lo, int32_t hi, int32_t end,
             float[:, ::1] out, int32_t rung=0):
    """The last rows of [lo, hi), as many as `out` has; a pass per `n_rows` of them, which is what a context returns."""
    cdef Span span
    cdef int32_t i, first = hi - min(<int32_t> out.shape[0], hi - lo)
    if end > forward.n_cells:
        raise ContextOverflowError(end, forward.n_cells)
    span.seq, span.tokens, span.n = stream, &tokens[0], <int32_t> tokens.shape[0]
    span.lo, span.hi, span.end, span.warm = lo, hi, end, True
    span.tail_lo = span.tail_hi = 0
    span.rung = rung
    span.row_lo = first
    while span.row_lo < hi:
        span.row_hi = min(span.row_lo + forward.n_rows, hi)
        with nogil:
            forward.run(&span, 1)
            for i in range(span.row_hi - span.row_lo):
                memcpy(&out[span.row_lo - first + i, 0], forward.row(span.first_row + i),
                       forward.n_vocab * sizeof(float))
        span.row_lo = span.row_hi


def check_ids(Forward forward, tokens):
    """Refuses what is no token of the vocabulary."""
    if tokens.size and tokens.dtype.kind not in "iu":
        raise ParameterError("ids", f"an array of {tokens.dtype} holds no ids", "give integers")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < forward.n_vocab:
        raise ParameterError("ids", f"an id is outside the vocabulary of {forward.n_vocab}",
                             "use ids that tokenize returned")


def run_of(keep):
    """The one run of true values in `keep`, as a slice."""
    where = np.flatnonzero(keep)
    if not where.size:
        return slice(0, 0)
    run = slice(int(where.min()), int(where.max()) + 1)
    if run.stop - run.start != where.size:
        raise ParameterError("mask", "a sequence has a hole", "pad at its ends only")
    return run
