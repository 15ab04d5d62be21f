"""A model made of a hash: the loop, the engine and the server run in tests without weights.

Its logits depend on every token of the canvas, so that a token settled wrongly changes all that follows.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free

from hoshikage._canvas cimport Forward, Span
from hoshikage._csrc cimport fakerow_fill, fakerow_hash

from hoshikage.errors import Cancelled


cdef class FakeContext(Forward):
    """Rows of hashes. `rows_computed` counts what a real model would have had to compute."""

    cdef readonly object model
    cdef readonly int64_t rows_computed
    cdef uint64_t salt
    cdef float *logits      # [n_rows, n_vocab], of the last pass

    def __init__(self, model, *, int n_ctx=0, int n_seq=1, int n_rows=0, int n_threads=0):
        if self.model is not None:
            raise RuntimeError("a context is made once")
        self.model = model
        self.n_vocab = model.n_vocab
        self.salt = model.salt
        self.n_cells = n_ctx or 4096
        self.n_streams = n_seq
        self.n_rows = n_rows or self.n_cells
        self.logits = <float *> calloc(<size_t> self.n_rows * self.n_vocab, sizeof(float))
        if self.logits == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.logits)

    def close(self):
        if self.board != NULL:
            raise RuntimeError("the context is at work; stop the session first")
        free(self.logits)
        self.logits = NULL

    cdef int run(self, Span *spans, int32_t n_spans) except -1 nogil:
        cdef int32_t k, i, n = 0
        cdef uint64_t canvas_hash
        if self.logits == NULL:
            with gil:
                raise RuntimeError("the session is closed")
        if self.board != NULL and self.board.cancel:
            with gil:
                raise Cancelled("the forward pass was cancelled")
        for k in range(n_spans):
            spans[k].first_row = n
            self.rows_computed += spans[k].hi - spans[k].lo
            canvas_hash = fakerow_hash(spans[k].tokens, spans[k].n, self.salt)
            for i in range(spans[k].row_lo, spans[k].row_hi):
                fakerow_fill(canvas_hash, i, self.row(n), self.n_vocab)
                n += 1
        return 0

    cdef float *row(self, int32_t number) noexcept nogil:
        return self.logits + <size_t> number * self.n_vocab


class FakeModel:
    """Stands in for `hoshikage._core.Model`: a vocabulary of `n_vocab` letters, the last ids reserved."""

    is_diffusion = True
    native = False
    architecture = served_as = "fake"
    path = "fake"

    def __init__(self, n_vocab=32, *, salt=0, shift=False):
        self.n_vocab = n_vocab
        self.salt = salt
        self.shift = shift
        self.mask_id = n_vocab - 1
        self.eos_id = n_vocab - 2
        self.eot_id = n_vocab - 3
        self.bos_id = -1

    def open_context(self, **options):
        return FakeContext(self, **options)
