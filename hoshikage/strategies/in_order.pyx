"""From left to right: what a text that has to follow a grammar needs, and SDAR's sequential decoding when alone."""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError


cdef class InOrder(Rule):
    """`in_order`: the leftmost masked positions, and those behind them for as long as each is at least so sure."""

    cdef readonly double threshold

    def __cinit__(self):
        self.in_order = True

    def __init__(self, *, double threshold=0.9, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not 0.0 < threshold <= 1.0:
            raise ParameterError("threshold", f"{threshold} is no probability", "use a number above 0, and up to 1")
        self.threshold = threshold

    cdef bint takes(self, const Row *row, int32_t n_before, Quota quota) noexcept nogil:
        return n_before < quota.count or row.score >= self.threshold

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        for i in range(n_rows):
            if not self.takes(&rows[i], i, quota):
                break
            canvas.write(&rows[i])
