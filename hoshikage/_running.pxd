from libc.stdint cimport int32_t

from hoshikage._board cimport board_words


cdef class _Turn:
    cdef Running _session


cdef class Running:
    cdef bint _busy         # one thread at a time; read and written under the GIL

    cdef _Turn _alone(self)
    cdef int _check_made(self) except -1
    cdef bint _has_work(self) except -1
    cdef void _watch(self, board_words *board) noexcept
    cdef int _one_step(self) except -1 nogil
    cdef list _let_go(self)
    cdef int _many_steps(self, board_words *board, int32_t max_steps) except -1 nogil
