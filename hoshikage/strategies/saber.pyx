"""Saber (arXiv 2510.18165): settle what is surer than what stands was on average; mask again what became doubtful."""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, sort_rows
from libc.math cimport rint
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError

cdef double SURE = 0.999        # surer than this a row need not be


cdef class Saber(Rule):
    """`saber`: rows surer than the settled ones were on average, or the `least` surest; some settled ones go back.

    Fewer go back than were settled, and none from a block that is full, so that every step is nearer to the end.
    """

    cdef readonly int32_t least

    def __init__(self, *, int32_t least=2, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not 1 <= least <= 1 << 20:
            raise ParameterError("least", f"{least} rows a step are out of range", "use a small one, such as 2")
        self.least = least

    def __cinit__(self):
        self.remasks = True

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t n_open = part(canvas, rows, n_rows)
        cdef int32_t n_settled = self.settle_sure(canvas, rows, n_open, quota)
        cdef int32_t n_back = min(max(self.least // 2, (n_settled + 7) // 8), n_settled - 1)
        cdef int32_t i
        if canvas.n_masked == 0:
            return
        # From here on a score is how much surer the model was when it settled the row, in whole hundredths: less is
        # no doubt, and among drops from nearly 1 to nearly 0 rounding should not decide.
        for i in range(n_open, n_rows):
            rows[i].score = rint(100.0 * (canvas._confidence[rows[i].position] - rows[i].score))
        sort_rows(&rows[n_open], n_rows - n_open)
        for i in range(n_open, min(n_open + n_back, n_rows)):
            if rows[i].score >= 1.0:
                canvas.erase(rows[i].position)

    cdef int32_t settle_sure(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        """How many rows were settled."""
        cdef double enough = mean_confidence(canvas)
        cdef int32_t i, n = 0
        sort_rows(rows, n_rows)
        while n < n_rows and rows[n].score > enough:
            n += 1
        n = min(n_rows, max(n if n > 0 else self.least, quota.count))
        for i in range(n):
            canvas.write(&rows[i])
        return n


cdef int32_t part(Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil:
    """Put the masked rows first; returns how many they are."""
    cdef int32_t i, n = 0
    cdef Row row
    for i in range(n_rows):
        if canvas.masked(rows[i].position):
            row = rows[i]
            rows[i] = rows[n]
            rows[n] = row
            n += 1
    return n


cdef double mean_confidence(Canvas canvas) noexcept nogil:
    """Of all that was settled so far, but never nearly 1; 1 before anything is settled."""
    cdef double total = 0.0
    cdef int32_t i, n = 0
    for i in range(canvas.lo, canvas.hi):
        if canvas._settled_at[i] >= 0:
            total += canvas._confidence[i]
            n += 1
    return min(total / n, SURE) if n > 0 else 1.0
