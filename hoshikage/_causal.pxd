from libc.stdint cimport int32_t, int64_t

from hoshikage._context cimport Context
from hoshikage._llama cimport llama_token_data
from hoshikage._running cimport Running
from hoshikage._stream cimport Stream


cdef struct Slot:           # one sequence of the context
    void *stream            # borrowed from CausalSession._streams; NULL: nobody writes here
    int32_t n_cached        # tokens of `_kept` whose keys and values are in the cache
    int32_t n_next          # and after the present pass
    int64_t last_used       # the session's count of comings and goings


cdef struct Reading:        # a row of the present pass
    void *stream
    int32_t position        # the token that the row follows
    const float *row        # [n_vocab], valid until the next pass


cdef class CausalSession(Running):
    cdef readonly Context context
    cdef readonly int32_t n_threads
    cdef readonly int32_t n_batch   # tokens of one pass, at most
    cdef list _streams              # those at work, in the order of their coming
    cdef list _kept                 # [n_seq] whose tokens each slot holds, finished or not
    cdef bint _cuts                 # a sequence can be cut back; a recurrent state cannot
    cdef int64_t _clock
    cdef Slot *_slots               # [n_seq]
    cdef int32_t *_live             # [n_seq] the slots at work
    cdef int32_t _n_live
    cdef Reading *_readings         # [n_rows of the context]
    cdef int32_t _n_readings
    cdef int32_t _n_shares          # threads among which the readings are shared
    cdef llama_token_data *_room    # [a share each, n_vocab] candidates, or NULL while no stream draws

    cdef _release(self, Stream stream)
    cdef _borrow_streams(self)
    cdef _make_room(self)
    cdef _start_over(self)
    cdef int32_t _place(self, Stream stream)
    cdef int32_t _usable(self, Stream stream, int32_t seq)
    cdef int32_t _longest_idle(self, bint filled) noexcept nogil
    cdef void _cut(self, int32_t seq, int32_t n) noexcept nogil
    cdef void _fill_batch(self) noexcept nogil
    cdef int _decode(self) except -1 nogil
    cdef void _read_rows(self) noexcept nogil
    cdef void _read_share(self, int32_t share) noexcept nogil
