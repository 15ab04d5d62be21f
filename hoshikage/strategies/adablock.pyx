# cython: auto_pickle=False
"""AdaBlock (arXiv 2509.26432): a block ends with a line, when the model is sure enough where that is."""

from hoshikage._canvas cimport Canvas, Ends, Row, row_probability
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError

cdef enum:
    MOST = 8    # delimiters


cdef class Delimited(Ends):
    """The surest delimiter within `longest` positions ends the block, if it is sure `enough`, else `length`."""

    cdef int32_t delimiters[MOST]
    cdef int32_t n
    cdef readonly int32_t length
    cdef readonly double enough

    def __init__(self, delimiters, *, int32_t length, int32_t longest, double enough=0.3):
        ids = list(delimiters)
        if not 1 <= len(ids) <= MOST:
            raise ParameterError("block_ends", f"{len(ids)} tokens end a block", f"use 1 to {MOST}")
        if length < 1 or longest < 1:
            raise ParameterError("block_length", f"{length} of {longest} positions are no block",
                                 "use positive numbers")
        if not 0.0 < enough <= 1.0:
            raise ParameterError("block_ends", f"{enough} is no probability", "use a number above 0, and up to 1")
        self.n = 0
        for token in ids:
            self.delimiters[self.n] = token
            self.n += 1
        self.length, self.longest, self.enough = length, max(length, longest), enough

    cdef int32_t end(self, Canvas canvas, const Row *rows, int32_t n_rows) noexcept nogil:
        cdef int32_t i, end = canvas.block_lo + self.length
        cdef double best = 0.0
        for i in range(n_rows):
            if self.delimits(rows[i].token) and row_probability(&rows[i]) > best:
                best = row_probability(&rows[i])
                if best >= self.enough:
                    end = rows[i].position + 1
        return end

    cdef bint delimits(self, int32_t token) noexcept nogil:
        cdef int32_t i
        for i in range(self.n):
            if self.delimiters[i] == token:
                return True
        return False
