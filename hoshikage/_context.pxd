from libc.stdint cimport int32_t

from hoshikage._board cimport board_words
from hoshikage._canvas cimport Forward, Span
from hoshikage._llama cimport llama_batch, llama_batch_ext, llama_context, llama_context_params, llama_memory_t
from hoshikage._model cimport Model


cdef class Context(Forward):
    cdef readonly Model model
    cdef llama_context *ptr     # NULL when closed
    cdef llama_memory_t memory  # NULL for a native diffusion model
    cdef llama_batch batch      # room for n_cells tokens, each of n_rungs sequences
    cdef int32_t n_wanted       # rows flagged in the batch
    cdef int32_t *wanted        # [n_rows] their batch indices
    cdef llama_context_params bare_params
    cdef llama_context *bare     # a small context that stays empty, or NULL: see `open_bare`
    cdef llama_batch_ext *loose  # room for n_tokens_max tokens, or NULL: a batch whose positions nobody compares

    cdef void clear_batch(self) noexcept nogil
    cdef void put(self, int32_t token, int32_t position, int32_t seq, bint wants_row) noexcept nogil
    cdef void raise_ladder(self, const Span *span) noexcept nogil
    cdef void take_ladder_down(self, const Span *span) noexcept nogil
    cdef int32_t home(self, int32_t seq) noexcept nogil
    cdef int decode_loosely(self) except -1 nogil
    cdef int open_bare(self) except -1 nogil
    cdef int check(self, int32_t rc) except -1 nogil
    cdef int check_open(self) except -1
    cdef int check_spans(self, Span *spans, int32_t n_spans) except -1 nogil
    cdef bint holds(self, const Span *span) noexcept nogil
    cdef int check_idle(self) except -1
    cdef void free_context(self) noexcept
    cdef _check_sizes(self, int n_ctx, int n_seq, int n_rows, int n_tokens)
    cdef _open(self, llama_context_params params)
