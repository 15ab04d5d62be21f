"""Fast-dLLM's factor (arXiv 2505.22618): the more rows are settled at once, the surer the last of them has to be.

With (n + 1)(1 - c) <= 1 the likeliest tokens one by one are the likeliest together.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, sort_rows
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError


cdef class Factor(Rule):
    """`factor`: the largest n with (n + 1)(1 - c) <= factor, where c is the n-th surest row's probability."""

    cdef readonly double factor

    def __init__(self, *, double factor=1.0, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not 0.0 < factor <= 1000.0:
            raise ParameterError("factor", f"{factor} is out of range", "use a number above 0; the paper has 1")
        self.factor = factor

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        sort_rows(rows, n_rows)
        for i in range(n_rows):
            if i >= quota.count and (i + 2) * (1.0 - rows[i].score) > self.factor:
                break
            canvas.write(&rows[i])
