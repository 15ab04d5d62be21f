"""Dream (arXiv 2508.15487): time runs from 1 to eps in equal strides, and each stride settles its share.

Its scores are made of the distribution that temperature, top-p and top-k leave (`cut`), as its code has it.
"""

from hoshikage._canvas cimport Canvas, Quota, Row, Rule, Schedule, row_probability
from hoshikage._csrc cimport NOISE_ORIGIN, noise_uniform
from libc.math cimport exp
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError


cdef class MaskgitPlus(Rule):
    """`maskgit_plus`: the probability of the chosen token."""

    def __cinit__(self):
        self.cut = True

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return row_probability(row)


cdef class Margin(Rule):
    """`topk_margin`: how far the best token's probability is above the second's."""

    def __cinit__(self):
        self.cut = True

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        cdef double best = exp(-<double> row.scan.excess)
        cdef double second = exp(
            <double> row.scan.second_logit - <double> row.scan.best_logit - <double> row.scan.excess)
        return best - second


cdef class Entropy(Rule):
    """`entropy`: the less entropy, the surer."""

    def __cinit__(self):
        self.cut = True

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return -<double> row.scan.entropy


cdef class Origin(Rule):
    """`origin`: no score; each masked row is settled with the probability that the schedule gives the step."""

    cdef bint drawn(self, Canvas canvas, int32_t position, double share) noexcept nogil:
        return noise_uniform(canvas.noise(position), NOISE_ORIGIN) < share

    cdef bint wants(self, Canvas canvas, Quota quota) noexcept nogil:
        cdef int32_t position
        for position in range(canvas.block_lo, canvas.block_hi):
            if canvas.masked(position) and self.drawn(canvas, position, quota.share):
                return True
        return False

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        for i in range(n_rows):
            if self.drawn(canvas, rows[i].position, quota.share):
                canvas.write(&rows[i])


cdef class Timesteps(Schedule):
    """At step j of s, time goes from t_j to t_(j+1) on a line from 1 to eps: settle 1 - t_(j+1)/t_j of the masked."""

    cdef readonly double eps

    def __init__(self, *, double eps=1e-3):
        if not 0.0 < eps < 1.0:
            raise ParameterError("eps", f"{eps} is not a time before the end",
                                 "use a number between 0 and 1, such as 1e-3")
        self.eps = eps

    cdef double time(self, int32_t step, int32_t n_steps) noexcept nogil:
        return self.eps if step == n_steps else 1.0 + step * ((self.eps - 1.0) / n_steps)

    cdef Quota quota(self, Canvas canvas) noexcept nogil:
        cdef Quota quota
        cdef int32_t last = canvas.block_steps - 1
        quota.share, quota.count = 1.0, canvas.n_masked
        if canvas.block_step < last:
            quota.share = 1.0 - (self.time(canvas.block_step + 1, canvas.block_steps)
                                 / self.time(canvas.block_step, canvas.block_steps))
            quota.count = <int32_t> (canvas.n_masked * quota.share)
        return quota
