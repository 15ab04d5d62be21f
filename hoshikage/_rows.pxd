from libc.stdint cimport int32_t

from hoshikage._canvas cimport Canvas, Forward, Job, Row, RowView, Span


cdef int32_t fill_jobs(Canvas canvas, Forward forward, const Span *spans, Job *jobs, Row *rows) noexcept nogil
cdef void read_job(void *jobs, int32_t i) noexcept nogil
cdef void draw_token(Canvas canvas, Row *row, const RowView *view) noexcept nogil
cdef void judge(Canvas canvas, Row *row) noexcept nogil
