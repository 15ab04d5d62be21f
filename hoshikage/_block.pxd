from libc.stdint cimport int32_t

from hoshikage._canvas cimport Canvas, Plan, Quota, Row, Span
from hoshikage._core cimport Session


cdef class Blockwise(Plan):
    pass


cdef class BlockCanvas(Canvas):
    cdef readonly int32_t grid          # length of the model's blocks, counted from the first token
    cdef readonly int32_t n_prompt, max_tokens
    cdef readonly int32_t clean         # positions, from 0 on, whose cached keys and values are those of whole blocks
    cdef readonly int32_t n_reused      # of these, what was in the cache when it first came into a session
    cdef int32_t most_rungs             # blocks that one pass may compute
    cdef int32_t settled_to             # all before it is settled for good
    cdef int32_t n_after                # passes of this block that began without a mask in it
    cdef bint changed                   # something was written since the last pass over this block
    cdef bint takes_first               # the present pass reads the first token of the block behind it
    cdef int32_t *_stop_ids             # [_n_stop_ids]
    cdef int32_t _n_stop_ids

    cdef _take_stop_ids(self, stop_ids)
    cdef bint feeds(self) noexcept nogil
    cdef int32_t present(self) noexcept nogil
    cdef int32_t fed_to(self) noexcept nogil
    cdef void fill(self, Span *out) noexcept nogil
    cdef bint block_is_over(self) noexcept nogil
    cdef void look_for_end(self) noexcept nogil
    cdef bint stops(self, int32_t token) noexcept nogil
    cdef int32_t most_clean(self) noexcept nogil


cdef class BlockSession(Session):
    cdef list _kept                     # [n_streams] tokens of whole blocks that a free stream has left in the cache
    cdef list _grids                    # [n_streams] length of these blocks
    cdef list _left_at                  # [n_streams] when; 0: long ago
    cdef int32_t _clock

    cdef tuple _longest_match(self, BlockCanvas canvas)
    cdef int32_t _oldest_free(self)
    cdef _drop(self, int32_t seq)
