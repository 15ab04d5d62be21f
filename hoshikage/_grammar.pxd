from libc.stdint cimport int32_t

from hoshikage._llama cimport llama_sampler, llama_token_data_array
from hoshikage._model cimport Model


cdef class Grammar:
    cdef readonly Model model       # whose tokens it is about
    cdef llama_sampler *_sampler

    cdef bint allows(self, int32_t token) noexcept nogil
    cdef bint narrow(self, llama_token_data_array *candidates) noexcept nogil
    cdef bint accept(self, int32_t token) noexcept nogil
