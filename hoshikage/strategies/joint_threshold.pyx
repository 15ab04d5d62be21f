"""LLaDA 2.1's joint threshold (arXiv 2602.08676): settle what is sure enough, and write other tokens over those that
the model would not write again."""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, sort_rows
from libc.math cimport exp
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError


cdef class JointThreshold(Rule):
    """`joint_threshold`: masked rows of at least this probability, one at least, are settled; settled ones become the
    likeliest token where that is another, and likelier than `edit`.

    A block model's block without masks goes on until nothing is written any more, for `most_edits` passes at most.
    """

    cdef readonly double threshold, edit

    def __cinit__(self):
        self.remasks = True

    def __init__(self, *, double threshold=0.5, double edit=0.0, int32_t most_edits=16, double order_temperature=0.0):
        super().__init__(order_temperature=order_temperature)
        if not (0.0 < threshold <= 1.0 and 0.0 <= edit <= 1.0):
            raise ParameterError("threshold", f"{threshold} and {edit} are no probabilities", "use numbers from 0 to 1")
        if not 0 <= most_edits <= 1 << 20:
            raise ParameterError("most_edits", f"{most_edits} passes are out of range", "use a small one, such as 16")
        self.threshold, self.edit, self.most_edits = threshold, edit, most_edits

    cdef bint wants(self, Canvas canvas, Quota quota) noexcept nogil:
        return canvas.n_masked > 0 or canvas.in_blocks

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i, n = 0
        for i in range(n_rows):
            if canvas.masked(rows[i].position):
                rows[i], rows[n] = rows[n], rows[i]
                n += 1
        for i in range(n, n_rows):
            if self.rewrites(canvas, &rows[i]):
                rewrite(canvas, &rows[i])
        sort_rows(rows, n)
        for i in range(n):
            if i >= max(quota.count, 1) and rows[i].score < self.threshold:
                break
            canvas.write(&rows[i])

    cdef bint rewrites(self, Canvas canvas, const Row *row) noexcept nogil:
        """The end of the text is written only in a warm pass."""
        if row.scan.best == row.token or exp(-<double> row.scan.excess) <= self.edit:
            return False
        return canvas.warm or not canvas.ends_with(row.scan.best)


cdef void rewrite(Canvas canvas, Row *row) noexcept nogil:
    row.token, row.logit = row.scan.best, row.scan.best_logit
    canvas.erase(row.position)
    canvas.write(row)
