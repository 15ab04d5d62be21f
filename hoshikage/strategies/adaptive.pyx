"""The schedule of rules that decide themselves how many rows are sure enough: one at least, in any number of steps."""

from hoshikage._canvas cimport Canvas, Quota, Schedule


cdef class AsNeeded(Schedule):
    """`adaptive`: a block lasts until nothing is masked in it. For a rule that draws: on average one row a step."""

    def __cinit__(self):
        self.open = True

    cdef Quota quota(self, Canvas canvas) noexcept nogil:
        cdef Quota quota
        quota.count = min(1, canvas.n_masked)
        quota.share = 1.0 / canvas.n_masked if canvas.n_masked > 0 else 0.0
        return quota
