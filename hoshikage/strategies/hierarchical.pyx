"""dInfer's hierarchical decoding (arXiv 2510.08666): settle rows far from each other first, for neighbours depend most
on one another."""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, sort_rows
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError


cdef class Hierarchical(Rule):
    """`hierarchical`: all rows above `threshold`; the surest of each run of masks, if above `low`; and the surest."""

    cdef readonly double threshold, low

    def __init__(self, *, double threshold=0.9, double low=0.6, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not (0.0 < threshold <= 1.0 and 0.0 < low <= 1.0):
            raise ParameterError("threshold", f"{threshold} and {low} are no probabilities", "use numbers from 0 to 1")
        self.threshold, self.low = threshold, low

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        self.settle_peaks(canvas, rows, n_rows)
        sort_rows(rows, n_rows)
        for i in range(n_rows):
            if canvas.masked(rows[i].position) and (i < quota.count or rows[i].score > self.threshold):
                canvas.write(&rows[i])

    cdef void settle_peaks(self, Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil:
        cdef int32_t i, best = 0
        for i in range(1, n_rows + 1):
            if i < n_rows and unbroken(canvas, rows[i - 1].position, rows[i].position):
                if rows[i].score > rows[best].score:
                    best = i
                continue
            if rows[best].score > self.low:
                canvas.write(&rows[best])
            best = i


cdef bint unbroken(Canvas canvas, int32_t left, int32_t right) noexcept nogil:
    """Whether all between two masked positions is masked too."""
    cdef int32_t position
    for position in range(left + 1, right):
        if not canvas.masked(position):
            return False
    return True
