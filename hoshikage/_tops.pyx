"""Tops: the likeliest tokens at each place of a text, for those who ask what else might have stood there."""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from hoshikage._csrc cimport row_top, scan_record

from hoshikage.checks import Whole

MOST = 64


cdef class Tops:
    """`k` tokens and the logarithms of their probabilities at each of so many places."""

    def __init__(self, k):
        if self._n != 0:
            raise RuntimeError("alternatives are made once")
        self.k = Whole(1, MOST).check("n_top", k)

    def __dealloc__(self):
        free(self._tokens)
        free(self._logprobs)

    cdef int resize(self, int32_t n) except -1:
        """Room for `n` places; what is there stays."""
        cdef size_t i, size = <size_t> n * self.k
        cdef int32_t *tokens = <int32_t *> realloc(self._tokens, size * sizeof(int32_t))
        cdef float *logprobs
        if tokens == NULL:
            raise MemoryError
        self._tokens = tokens
        logprobs = <float *> realloc(self._logprobs, size * sizeof(float))
        if logprobs == NULL:
            raise MemoryError
        self._logprobs = logprobs
        for i in range(<size_t> self._n * self.k, size):
            tokens[i] = -1
        self._n = n
        return 0

    cdef void move(self, int32_t at, int32_t by, int32_t end) noexcept nogil:
        """What was read for the places from `at` to `end` is that of places `by` further on; there has to be room."""
        cdef size_t n = <size_t> (end - at) * self.k
        memmove(self._tokens + <ssize_t> (at + by) * self.k, self._tokens + <ssize_t> at * self.k, n * sizeof(int32_t))
        memmove(self._logprobs + <ssize_t> (at + by) * self.k, self._logprobs + <ssize_t> at * self.k,
                n * sizeof(float))

    cdef void read(self, int32_t place, const float *row, int32_t n_vocab, const scan_record *scan) noexcept nogil:
        """Take them from a row and its scan; what was read for the place before is forgotten."""
        cdef int32_t *tokens = self._tokens + <size_t> place * self.k
        cdef float *logprobs = self._logprobs + <size_t> place * self.k
        cdef int32_t i, n = row_top(row, n_vocab, self.k, tokens, logprobs)
        for i in range(n):
            logprobs[i] = logprobs[i] - scan.best_logit - scan.excess
        for i in range(n, self.k):
            tokens[i] = -1

    def at(self, int32_t place):
        """Pairs of token and logprob, the surest first; none where no row was read."""
        if not 0 <= place < self._n:
            return []
        places = range(place * self.k, (place + 1) * self.k)
        return [(self._tokens[i], self._logprobs[i]) for i in places if self._tokens[i] >= 0]
