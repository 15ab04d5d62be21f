from libc.stdint cimport int32_t, int64_t


# Plain words read and written from any thread without a lock. Each is written whole, and no reader
# needs two of them to agree: a late reader is one step late, never wrong.
cdef struct board_words:
    int32_t cancel      # in: stop as soon as possible, inside a forward pass as well
    int32_t attend      # in: return to the caller after the present step
    int64_t n_steps     # out: steps taken
    int64_t n_nodes     # out: nodes of CPU graphs computed, which grow inside a long pass as well
    float progress      # out: loading, 0 to 1


cdef class Board:
    cdef board_words words


cdef int job_begins(Board board) except -1
cdef job_ends(Board board)
