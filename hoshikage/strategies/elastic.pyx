# cython: auto_pickle=False
"""DreamOn: gaps whose length the model finds. Where it writes <expand> there are two masks then, where
it writes the end of the text there is nothing, and no mask behind that in the gap either."""

from hoshikage._canvas cimport Canvas, Growth, Row, RowEdit, RowView
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

from hoshikage.errors import ParameterError


cdef struct Gap:
    int32_t lo, hi          # where it is now
    int32_t least, most     # positions that it may have
    int32_t n_left          # times that it may still expand


cdef class Elastic(Growth):
    """The gaps of one canvas in order, (lo, hi, least, most) each. A gap expands `most` times at most.

    So that a step is always nearer to the end, a gap that has its `most` (or has expanded often enough) cannot be
    expanded, and one that has its `least` cannot be shortened: `Limits` forbids the tokens.
    """

    cdef Gap *_gaps         # [n]
    cdef readonly int32_t n, expand_id, delete_id

    def __init__(self, gaps, *, int32_t expand_id, int32_t delete_id):
        if expand_id < 0 or delete_id < 0 or expand_id == delete_id:
            raise ParameterError("expand", f"tokens {expand_id} and {delete_id} cannot mean more and less",
                                 "use a model that was trained to find the length of a gap")
        rows = checked_gaps(gaps)
        if self._gaps != NULL:  # by that iteration, too
            raise RuntimeError("a growth is made once")
        self._gaps = <Gap *> calloc(len(rows), sizeof(Gap))
        if self._gaps == NULL:
            raise MemoryError
        for lo, hi, least, most in rows:
            self._gaps[self.n] = Gap(lo, hi, least, most, most)
            self.most += most - (hi - lo)
            self.n += 1
        self.expand_id, self.delete_id = expand_id, delete_id

    def __dealloc__(self):
        free(self._gaps)

    cdef int join(self, Canvas canvas) except -1:
        for lo, hi in self.gaps:
            if hi > canvas.n or not all([canvas.masked(i) for i in range(lo, hi)]):
                raise ParameterError("gaps", f"{lo} to {hi} is not masked", "use gaps of this canvas")
        return Growth.join(self, canvas)

    @property
    def gaps(self):
        """Where each is now: (lo, hi)."""
        return [(self._gaps[k].lo, self._gaps[k].hi) for k in range(self.n)]

    cdef void after(self, Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil:
        cdef int32_t k
        for k in range(self.n):
            self.shorten(canvas, k)
            self.lengthen(canvas, k)

    cdef void shorten(self, Canvas canvas, int32_t k) noexcept nogil:
        """The first end of the text in the gap takes itself out, and all masks and other ends behind it."""
        cdef Gap *gap = &self._gaps[k]
        cdef int32_t i, first = gap.lo
        while first < gap.hi and canvas._tokens[first] != self.delete_id:
            first += 1
        for i in range(gap.hi - 1, first - 1, -1):
            if not canvas.masked(i) and canvas._tokens[i] != self.delete_id:
                continue
            if gap.hi - gap.lo > gap.least:
                canvas.drop(i)
                self.resize(k, -1)
            elif not canvas.masked(i):
                canvas.erase(i)

    cdef void lengthen(self, Canvas canvas, int32_t k) noexcept nogil:
        cdef Gap *gap = &self._gaps[k]
        cdef int32_t i
        for i in range(gap.hi - 1, gap.lo - 1, -1):
            if canvas._tokens[i] == self.expand_id:
                canvas.erase(i)
                if may_expand(gap):
                    gap.n_left -= 1
                    canvas.insert(i + 1, 1)
                    self.resize(k, 1)

    cdef void resize(self, int32_t k, int32_t by) noexcept nogil:
        cdef int32_t other
        self._gaps[k].hi += by
        for other in range(k + 1, self.n):
            self._gaps[other].lo += by
            self._gaps[other].hi += by


cdef bint may_expand(const Gap *gap) noexcept nogil:
    return gap.n_left > 0 and gap.hi - gap.lo < gap.most


cdef class Limits(RowEdit):
    """Forbids more where a gap is as long as it may be, and less where it is as short; given text lies in no gap."""

    cdef Elastic elastic

    def __cinit__(self, Elastic elastic not None):  # `edit` looks into it, so that there is none without
        self.elastic = elastic

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        cdef Gap *gap
        cdef int32_t k
        for k in range(self.elastic.n):
            gap = &self.elastic._gaps[k]
            if gap.lo <= view.position < gap.hi:
                if not may_expand(gap) and self.elastic.expand_id < view.n_vocab:
                    view.logits[self.elastic.expand_id] = -INFINITY
                if gap.hi - gap.lo <= gap.least and self.elastic.delete_id < view.n_vocab:
                    view.logits[self.elastic.delete_id] = -INFINITY


def checked_gaps(gaps):
    """Rows of (lo, hi, least, most) that can be gaps of one canvas."""
    rows = [tuple(int(number) for number in gap) for gap in gaps]
    behind = 0
    for lo, hi, least, most in rows:
        if not (behind <= lo < hi and 0 <= least <= hi - lo <= most <= 1 << 24):
            raise ParameterError("gaps", f"{lo} to {hi}, {least} to {most} long, is no gap",
                                 "use gaps in order, each at first no shorter and no longer than it may be")
        behind = hi
    return rows
