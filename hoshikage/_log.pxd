cdef str last_lines()
cdef void forget_lines() noexcept nogil
