"""EB-Sampler (arXiv 2505.24857): settle the rows of least entropy, while what they may know of each other is bounded.

The mutual information of a set of rows is at most the sum of their entropies without the largest one.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, sort_rows
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError

cdef double NO_ENTROPY = 1e3    # none is as large: the score of an end of text that has to wait


cdef class EntropyBounded(Rule):
    """`entropy_bounded`: the most rows whose entropies without the largest one sum up to no more than the bound."""

    cdef readonly double bound

    def __init__(self, *, double bound=0.1, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not 0.0 <= bound <= 1000.0:
            raise ParameterError("entropy_bound", f"{bound} is out of range", "use a small number, such as 0.1")
        self.bound = bound

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return -<double> row.scan.entropy

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        cdef double smaller = 0.0   # sum of the entropies before this one, which is the largest so far
        sort_rows(rows, n_rows)
        for i in range(n_rows):
            if i >= quota.count and (smaller > self.bound or rows[i].score < -NO_ENTROPY):
                break
            smaller -= rows[i].score
            canvas.write(&rows[i])
