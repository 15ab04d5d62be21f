from libc.stdint cimport int32_t

from hoshikage._canvas cimport Canvas, Job, Quota, Row, Span


cdef struct Turn:           # one canvas's part in the present step
    void *canvas            # borrowed from Session._canvases
    Quota quota
    int32_t span, n_spans   # its first one, and how many: none where no pass is needed
    bint is_read            # whether anything is read of the pass
    int32_t first_job, n_jobs


cdef bint find_step(Canvas canvas, Quota *quota) noexcept nogil
cdef int32_t fill_spans(Canvas canvas, Span *spans) noexcept nogil
cdef void settle_rows(Canvas canvas, Turn *turn, Job *jobs, Row *rows) noexcept nogil
