"""A model made of a hash: the loop, the engine and the server run in tests without weights.

Its logits depend on every token of the canvas, so that a token settled wrongly changes all that follows, and on
the canvas in which each cached position was computed, so that one that a plan leaves to the cache changes them too.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from hoshikage._canvas cimport Forward, Span
from hoshikage._csrc cimport fakerow_cached, fakerow_fill

from hoshikage.errors import Cancelled, DecodeError
from hoshikage.gguf import Kind


cdef class FakeContext(Forward):
    """Rows of hashes, and a cache of what they were made of.

    `rows_computed` counts what a real model would have had to compute.
    """

    cdef readonly object model
    cdef readonly int64_t rows_computed
    cdef public int32_t passes_left  # until one fails; -1: none will
    cdef uint64_t salt
    cdef float *logits      # [n_rows, n_vocab], of the last pass
    cdef int32_t *tokens    # [n_streams, n_cells]: the cache
    cdef uint64_t *written  # [n_streams, n_cells]: the canvas that each cell was computed in
    cdef int32_t *lengths   # [n_streams]: cells in use, from 0 on

    def __init__(self, model, *, int n_ctx=0, int n_seq=1, int n_rows=0, int n_tokens=0, int n_rungs=1,
                 int n_threads=0):
        if self.model is not None:
            raise RuntimeError("a context is made once")
        self.model = model
        self.passes_left = -1
        self.n_vocab = model.n_vocab
        self.salt = model.salt
        self.n_cells = n_ctx or 4096
        self.n_tokens_max = min(n_tokens or self.n_cells, self.n_cells)
        self.n_streams = n_seq
        self.n_rows = n_rows or self.n_cells
        self.n_rungs = n_rungs
        self.n_threads = max(1, n_threads)
        self.caches, self.patches = not model.native, model.patches
        self.logits = <float *> calloc(<size_t> self.n_rows * self.n_vocab, sizeof(float))
        self.tokens = <int32_t *> calloc(<size_t> self.n_streams * self.n_cells, sizeof(int32_t))
        self.written = <uint64_t *> calloc(<size_t> self.n_streams * self.n_cells, sizeof(uint64_t))
        self.lengths = <int32_t *> calloc(self.n_streams, sizeof(int32_t))
        if self.logits == NULL or self.tokens == NULL or self.written == NULL or self.lengths == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.logits)
        free(self.tokens)
        free(self.written)
        free(self.lengths)

    def close(self):
        if self.board != NULL:
            raise RuntimeError("the context is at work; stop the session first")
        free(self.logits)
        self.logits = NULL

    cdef int run(self, Span *spans, int32_t n_spans) except -1 nogil:
        cdef int32_t k, i, n = 0, n_tokens = 0, passes_left = self.passes_left
        cdef uint64_t canvas_hash
        if self.logits == NULL:
            with gil:
                raise RuntimeError("the session is closed")
        if self.board != NULL and self.board.cancel:
            with gil:
                raise Cancelled("the forward pass was cancelled")
        self.passes_left -= self.passes_left >= 0
        if self.passes_left == -1 < passes_left:
            with gil:
                raise DecodeError("the pass failed", "")
        for k in range(n_spans):
            n_tokens += spans[k].hi - spans[k].lo
        if n_tokens > self.n_tokens_max:
            with gil:
                raise DecodeError(f"a pass of {n_tokens} tokens is longer than {self.n_tokens_max}", "compute fewer")
        for k in range(n_spans):
            spans[k].first_row = n
            self.rows_computed += spans[k].hi - spans[k].lo
            canvas_hash = self.climb(&spans[k])
            for i in range(spans[k].row_lo, max(spans[k].row_hi, spans[k].tail_hi)):
                if i < spans[k].row_hi or i >= spans[k].tail_lo:
                    fakerow_fill(canvas_hash, i, self.row(n), self.n_vocab)
                    n += 1
        return 0

    cdef uint64_t climb(self, const Span *span) except? 0 nogil:
        """Compute rung after rung; the hash of what the last one sees, of which alone rows are wanted."""
        cdef Span rung = span[0]
        if span.rung > 0:
            if (span.hi - span.lo) > span.rung * self.n_rungs:
                with gil:
                    raise DecodeError(f"{span.hi - span.lo} positions are more than {self.n_rungs} blocks",
                                      "feed fewer")
            while rung.lo + span.rung < span.hi:
                rung.hi = rung.end = rung.lo + span.rung
                self.compute(&rung)
                rung.lo = rung.hi
            rung.hi, rung.end = span.hi, span.end
        return self.compute(&rung)

    cdef uint64_t compute(self, const Span *span) except? 0 nogil:
        """Write the span's cells; the hash of all that is seen then."""
        cdef size_t first = <size_t> span.seq * self.n_cells
        cdef int32_t length = self.lengths[span.seq]
        if span.lo > length or (span.hi < span.end and span.end > length) or span.end > self.n_cells:
            with gil:
                raise DecodeError(f"positions {span.lo} to {span.hi} of {span.end} do not go with {length} cached ones",
                                  "compute what the cache does not hold")
        memcpy(&self.tokens[first + span.lo], &span.tokens[span.lo], (span.hi - span.lo) * sizeof(int32_t))
        self.lengths[span.seq] = span.end
        return fakerow_cached(&self.tokens[first], &self.written[first], span.end, span.lo, span.hi, self.salt)

    cdef void cut(self, int32_t seq, int32_t n) noexcept nogil:
        self.lengths[seq] = min(self.lengths[seq], n)

    cdef void copy(self, int32_t source, int32_t seq) noexcept nogil:
        cdef size_t from_cell = <size_t> source * self.n_cells, to_cell = <size_t> seq * self.n_cells
        self.lengths[seq] = self.lengths[source]
        memcpy(&self.tokens[to_cell], &self.tokens[from_cell], self.lengths[seq] * sizeof(int32_t))
        memcpy(&self.written[to_cell], &self.written[from_cell], self.lengths[seq] * sizeof(uint64_t))

    cdef float *row(self, int32_t number) noexcept nogil:
        return self.logits + <size_t> number * self.n_vocab


class FakeModel:
    """Stands in for `hoshikage._core.Model`: a vocabulary of `n_vocab` letters, the last ids reserved."""

    is_diffusion = True
    native = False      # True: a context without a cache
    patches = True      # False: one that refuses a block alone
    architecture = served_as = "fake"
    path = "fake"
    metadata = {}       # a header's scalars

    def __init__(self, n_vocab=32, *, salt=0, shift=False, block_length=0):
        self.n_vocab = n_vocab
        self.block_length = block_length
        self.salt = salt
        self.shift = shift
        self.mask_id = n_vocab - 1
        self.eos_id = n_vocab - 2
        self.eot_id = n_vocab - 3
        self.bos_id = -1
        self.kind = Kind(name="block" if block_length else "masked", mask_id=self.mask_id, block_length=block_length,
                         sub_block=block_length, shift=bool(shift))

    def open_context(self, **options):
        return FakeContext(self, **options)
