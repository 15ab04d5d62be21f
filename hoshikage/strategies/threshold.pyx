"""Fast-dLLM's threshold (arXiv 2505.22618): settle every row that is sure enough, and always the surest.

With a schedule that asks for more it settles those too: LLaDA 2.0's and SDAR's dynamic decoding.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, sort_rows
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError


cdef class Threshold(Rule):
    """`threshold`: rows whose token has at least this probability."""

    cdef readonly double threshold

    def __init__(self, *, double threshold=0.9, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not 0.0 < threshold <= 1.0:
            raise ParameterError("threshold", f"{threshold} is no probability", "use a number above 0, and up to 1")
        self.threshold = threshold

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        sort_rows(rows, n_rows)
        for i in range(n_rows):
            if i >= quota.count and rows[i].score < self.threshold:
                break
            canvas.write(&rows[i])
