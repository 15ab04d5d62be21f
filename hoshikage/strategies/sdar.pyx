"""SDAR (arXiv 2510.06303): a block's tokens over its denoising steps, the surest first or from left to right.

Its dynamic way is the `threshold` rule with this schedule: all that are sure enough, and at least the step's share.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, Schedule
from libc.stdint cimport int32_t


cdef class Sequential(Rule):
    """`sequential`: the leftmost masked positions."""

    def __init__(self, *, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        self.in_order = order_temperature == 0.0

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return -<double> row.position


cdef class Denoising(Schedule):
    """A whole block's length over its steps, however much of it the prompt has filled already; then the block is full.
    """

    def __cinit__(self):
        self.open = True

    cdef Quota quota(self, Canvas canvas) noexcept nogil:
        cdef Quota quota
        # A block model's first block begins with the last tokens of the prompt.
        cdef int32_t length = canvas.block_length if canvas.in_blocks else canvas.block_hi - canvas.block_lo
        cdef int32_t steps = canvas.block_steps
        quota.count = length // steps + (canvas.block_step < length % steps)
        quota.count = min(quota.count, canvas.n_masked)
        if canvas.block_step >= steps - 1:
            quota.count = canvas.n_masked
        quota.share = quota.count / <double> canvas.n_masked if canvas.n_masked > 0 else 0.0
        return quota
