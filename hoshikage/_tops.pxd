from libc.stdint cimport int32_t

from hoshikage._csrc cimport scan_record


cdef class Tops:
    cdef readonly int32_t k
    cdef int32_t _n
    cdef int32_t *_tokens       # [_n, k] the surest first; -1 where there is none
    cdef float *_logprobs       # [_n, k]

    cdef int resize(self, int32_t n) except -1
    cdef void move(self, int32_t at, int32_t by, int32_t end) noexcept nogil
    cdef void read(self, int32_t place, const float *row, int32_t n_vocab, const scan_record *scan) noexcept nogil
