from libc.stdint cimport int32_t, int64_t

from hoshikage._llama cimport llama_token_data
from hoshikage._model cimport Model
from hoshikage._sampler cimport Chain, Sampler
from hoshikage._tops cimport Tops


cdef enum:                  # why a stream has ended
    END_NOT = 0
    END_PAUSED              # its share is written: it goes on where it is added again
    END_STOP                # it wrote a token that ends it
    END_LENGTH              # max_tokens, or the end of the context
    END_UNREADABLE          # the model's logits are no numbers
    END_NO_TOKEN            # every token is forbidden
    END_SAMPLER             # llama.cpp threw


cdef class Stream:
    cdef readonly Sampler sampler
    cdef readonly int32_t n_prompt
    cdef readonly int32_t max_tokens    # 0: to the end of the context
    cdef readonly int32_t share         # tokens that positions are kept for until it is paused; 0: for all
    cdef readonly bint score_prompt     # logprobs of the prompt's tokens are wanted too
    cdef readonly int32_t n_passes, n_prompt_computed
    cdef int32_t seq            # its slot, -1 outside a session
    cdef int32_t _n             # tokens so far
    cdef int32_t _limit         # most tokens for now, prompt included; known inside a session
    cdef int32_t *_tokens       # [_limit] the prompt, then what was written
    cdef float *_logprobs       # [_limit] by the same number; NaN where no row was read for it
    cdef Tops _tops             # [_limit] or None
    cdef int32_t _n_scored      # the prompt's rows that were read, from the first on
    cdef bint _unreadable       # one of them was not made of numbers; set by any reading thread
    cdef int32_t *_stop_ids     # [_n_stop_ids], or NULL: the model's own
    cdef int32_t _n_stop_ids
    cdef int32_t _end
    cdef Model _model
    cdef Chain _chain

    cdef _take_tokens(self, tokens)
    cdef int _take_logprobs(self, int32_t limit) except -1
    cdef _take_stop_ids(self, stop_ids)
    cdef int64_t _room_for(self, int32_t n_ctx) noexcept
    cdef _enter(self, Model model, int32_t n_ctx)
    cdef int32_t largest(self) noexcept nogil
    cdef bint ends(self, int32_t token) noexcept nogil
    cdef void count(self, int32_t lo, int32_t hi) noexcept nogil
    cdef void read(self, int32_t position, const float *row, llama_token_data *room) noexcept nogil
    cdef void choose(self, const float *row, llama_token_data *room) noexcept nogil
    cdef bint wants_row(self, int32_t position) noexcept nogil
    cdef void scored(self, int32_t n) noexcept nogil
    cdef void read_prompt(self, int32_t position, const float *row) noexcept nogil
    cdef void write(self, int32_t token, float logprob) noexcept nogil
