"""LLaDA (arXiv 2502.09992): blocks from left to right, a fixed number of tokens per step, the surest first.

Confidence is the softmax of the full, noise-free distribution at the chosen token.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, Schedule, row_probability
from hoshikage._csrc cimport NOISE_SCORE, noise_uniform
from libc.stdint cimport int32_t


cdef class LowConfidence(Rule):
    """`low_confidence`: settle the rows whose token is most probable; the paper re-masks the others."""

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return row_probability(row)


cdef class Random(Rule):
    """`random`: settle rows at random."""

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return noise_uniform(canvas.noise(row.position), NOISE_SCORE)


cdef class Blocks(Schedule):
    """The linear schedule: a block's n masks over its s steps, floor(n/s) each and one more in the first n mod s. Where
    positions come and go it begins anew with each step, with the masks and the steps that are left."""

    cdef Quota quota(self, Canvas canvas) noexcept nogil:
        cdef Quota quota
        cdef int32_t n = canvas.n_block, n_steps = canvas.block_steps, step = canvas.block_step
        if canvas.growth is not None:
            n, n_steps, step = canvas.n_masked, max(n_steps - step, 1), 0
        quota.count = n // n_steps + (step < n % n_steps)
        if step >= n_steps - 1:  # the plan may have withheld something until now
            quota.count = canvas.n_masked
        quota.count = min(quota.count, canvas.n_masked)
        # For a rule that draws: the same number, on average; the block's last step leaves nothing.
        quota.share = 1.0
        if step < n_steps - 1:
            quota.share = quota.count / <double> canvas.n_masked if canvas.n_masked > 0 else 0.0
        return quota
