from libc.stdint cimport int32_t, int64_t

from posix.time cimport timespec

from hoshikage._canvas cimport Canvas, Forward, Job, Row, Span
from hoshikage._running cimport Running
from hoshikage._step cimport Turn


cdef class Session(Running):
    cdef readonly Forward forward
    cdef readonly int32_t n_threads
    cdef readonly int64_t n_passes
    cdef readonly double forward_seconds    # that all passes took
    cdef readonly double step_seconds       # that all steps took: passes, and everything we do around them
    cdef list _canvases     # keeps alive what `_turns` borrows
    cdef list _free_streams
    cdef Turn *_turns       # [n_streams], like the others NULL when closed
    cdef Span *_spans       # [n_streams]
    cdef Job *_jobs         # [n_rows]
    cdef Row *_rows         # [n_rows]
    cdef int32_t _n_turns

    cdef int _check_open(self) except -1
    cdef int _all_passes(self) except -1 nogil
    cdef _start_over(self)
    cdef _clear(self)
    cdef _take_spare(self, Canvas canvas)
    cdef _seat(self, Canvas canvas)
    cdef _unseat(self, Canvas canvas)
    cdef _release(self, Canvas canvas)
    cdef _borrow_canvases(self)
    cdef void _plan_step(self) noexcept nogil
    cdef int32_t _end_of_pass(self, int32_t lo) noexcept nogil
    cdef int32_t _rows_of(self, const Turn *turn) noexcept nogil
    cdef int _pass(self, int32_t lo, int32_t hi) except -1 nogil
    cdef void _note_spans(self, int32_t lo, int32_t hi) noexcept nogil
    cdef void _await(self, const Span *spans, int32_t n_spans) noexcept nogil
    cdef void _read_rows(self, int32_t lo, int32_t hi) noexcept nogil
    cdef bint _check_rows(self, int32_t lo, int32_t hi) noexcept nogil
    cdef int _make_way(self, int32_t lo, int32_t hi) except -1 nogil
    cdef bint _settle(self, int32_t lo, int32_t hi) noexcept nogil
