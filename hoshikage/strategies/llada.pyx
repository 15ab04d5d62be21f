"""LLaDA (arXiv 2502.09992): blocks from left to right, a fixed number of tokens per step, the surest first.

Confidence is the softmax of the full, noise-free distribution at the chosen token.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, Schedule, row_probability
from hoshikage._csrc cimport NOISE_SCORE, noise_uniform


cdef class LowConfidence(Rule):
    """`low_confidence`: settle the rows whose token is most probable; the paper re-masks the others."""

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return row_probability(row)


cdef class Random(Rule):
    """`random`: settle rows at random."""

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return noise_uniform(canvas.noise(row.position), NOISE_SCORE)


cdef class Blocks(Schedule):
    """The linear schedule: a block's n masks over its s steps, floor(n/s) each and one more in the first n mod s."""

    cdef Quota quota(self, Canvas canvas) noexcept nogil:
        cdef Quota quota
        quota.count = canvas.n_block // canvas.block_steps
        if canvas.block_step < canvas.n_block % canvas.block_steps:
            quota.count += 1
        if canvas.block_step >= canvas.block_steps - 1:  # the plan may have withheld something until now
            quota.count = canvas.n_masked
        quota.count = min(quota.count, canvas.n_masked)
        # For a rule that draws: the same number, on average; the block's last step leaves nothing.
        quota.share = 1.0
        if canvas.block_step < canvas.block_steps - 1:
            quota.share = quota.count / <double> canvas.n_masked if canvas.n_masked > 0 else 0.0
        return quota
