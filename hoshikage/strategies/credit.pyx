# cython: auto_pickle=False
"""dInfer's credit decoding (arXiv 2510.08666): a token that was the likeliest of its position in the steps before is
likelier now. The rule beside it is `threshold`."""

from hoshikage._canvas cimport Canvas, RowEdit, RowView
from hoshikage._csrc cimport scan_record, scan_row
from libc.math cimport exp, log1p, pow
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

cdef enum:
    KEPT = 8    # tokens with credit at a position; .8^8 of what a ninth had is little

cdef double DECAY = 0.8, EXPONENT = 0.2, WEIGHT = 0.7


cdef struct Entry:
    int32_t token
    double credit   # 0: free


cdef class Credit(RowEdit):
    """Adds weight ln(1 + credit) to the logits of the tokens that were best before. It belongs to one canvas."""

    cdef Entry *entries     # [n, KEPT]
    cdef readonly int32_t n

    def __init__(self, int32_t n):
        if self.entries != NULL:
            raise RuntimeError("a row edit is made once")
        self.entries = <Entry *> calloc(<size_t> max(n, 1) * KEPT, sizeof(Entry))
        if self.entries == NULL:
            raise MemoryError
        self.n = n

    def __dealloc__(self):
        free(self.entries)

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        cdef scan_record scan
        cdef Entry *entries
        cdef int32_t i
        if not 0 <= view.position < self.n:
            return
        scan_row(view.logits, view.n_vocab, &scan)
        if scan.best < 0:
            return
        entries = &self.entries[<size_t> view.position * KEPT]
        for i in range(KEPT):
            entries[i].credit *= DECAY
        entry_for(entries, scan.best).credit += pow(exp(-<double> scan.excess), EXPONENT)
        for i in range(KEPT):
            if entries[i].credit > 0.0 and entries[i].token < view.n_vocab:
                view.logits[entries[i].token] += <float> (WEIGHT * log1p(entries[i].credit))


cdef Entry *entry_for(Entry *entries, int32_t token) noexcept nogil:
    """The token's entry, or the one with the least credit made its own."""
    cdef Entry *least = entries
    cdef int32_t i
    for i in range(KEPT):
        if entries[i].token == token and entries[i].credit > 0.0:
            return &entries[i]
        if entries[i].credit < least.credit:
            least = &entries[i]
    least.token, least.credit = token, 0.0
    return least
