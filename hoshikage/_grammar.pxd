from libc.stdint cimport int32_t

from hoshikage._llama cimport llama_sampler, llama_token_data_array
from hoshikage._model cimport Model


cdef class Grammar:
    cdef readonly Model model       # whose tokens it is about
    cdef llama_sampler *_stands     # has taken the tokens that stand
    cdef llama_sampler *_ahead      # a copy that has taken some more, which may come to stand; NULL: none

    cdef bint allows(self, int32_t token) noexcept nogil
    cdef bint narrow(self, llama_token_data_array *candidates) noexcept nogil
    cdef bint look_behind(self, int32_t token) noexcept nogil
    cdef void look_back(self) noexcept nogil
    cdef bint accept(self, int32_t token) noexcept nogil
