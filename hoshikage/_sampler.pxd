from libc.stdint cimport int32_t

from hoshikage._grammar cimport Grammar
from hoshikage._llama cimport llama_sampler, llama_token_data
from hoshikage._model cimport Model


cdef enum:              # what `Chain.pick` says instead of a token
    PICK_NONE = -1      # no token is left
    PICK_FAILED = -2    # llama.cpp threw


cdef class Chain:
    cdef llama_sampler *bias        # NULL: no logits are changed beforehand
    cdef llama_sampler *chain       # NULL: the best token
    cdef Grammar grammar            # None: any token
    cdef readonly bint draws        # wants the candidates of a whole row: `room` in `pick`
    cdef bint remembers             # penalises what was there before

    cdef int32_t pick(self, const float *row, int32_t n_vocab, int32_t best, llama_token_data *room) noexcept nogil
    cdef bint accept(self, int32_t token) noexcept nogil
    cdef bint recall(self, const int32_t *tokens, int32_t n_tokens) noexcept nogil
    cdef int32_t draw(self, const float *row, int32_t n_vocab, llama_token_data *room, bint constrained) noexcept nogil
    cdef _take_bias(self, Model model, bias)
    cdef _add(self, llama_sampler *part)
    cdef _add_penalties(self, Model model, dict settings, int32_t n_ctx)
    cdef _add_dry(self, Model model, dict settings, int32_t n_ctx)
    cdef _add_cuts(self, dict settings)
    cdef _add_choice(self, Model model, dict settings)


cdef class Sampler:
    cdef dict _settings     # as they were judged: never handed out

    cdef Chain open(self, Model model, int32_t n_ctx)
