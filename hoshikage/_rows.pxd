from libc.stdint cimport int32_t

from hoshikage._canvas cimport Canvas, Row, RowView


cdef void gather_distinct(Canvas canvas) noexcept nogil
cdef void read_job(void *jobs, int32_t i) noexcept nogil
cdef void draw_token(Canvas canvas, Row *row, const RowView *view) noexcept nogil
cdef void judge(Canvas canvas, Row *row) noexcept nogil
