# cython: auto_pickle=False
"""Row edits: what changes a row before its token is chosen. They act in the order in which a canvas has them."""

from hoshikage._canvas cimport Canvas, RowEdit, RowView
from hoshikage._csrc cimport row_guide
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

import math

from hoshikage.errors import ParameterError

LARGEST = 1e6   # number that a logit is changed by: a float32 stays finite


cdef class Guidance(RowEdit):
    """Classifier-free guidance: away from what the model says without the prompt, l_un + (scale + 1)(l - l_un)."""

    cdef readonly double scale

    def __cinit__(self):
        self.unguided = True  # `edit` reads that row, however the object was made

    def __init__(self, double scale):
        if not 0.0 < scale <= LARGEST:
            raise ParameterError("cfg_scale", f"{scale} is no scale of guidance",
                                 f"use a positive number up to {LARGEST:g}, or leave guidance out")
        self.scale = scale

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        row_guide(view.logits, view.unguided, view.n_vocab, <float> self.scale)


cdef class Bias(RowEdit):
    """Adds to the logits of some tokens; `-inf` forbids them."""

    cdef int32_t *tokens    # [n]
    cdef float *added       # [n]
    cdef int32_t n

    def __init__(self, bias):
        pairs = [(int(token), float(added)) for token, added in bias.items()]
        if self.tokens != NULL:  # by that iteration, too
            raise RuntimeError("a row edit is made once")
        self.tokens = <int32_t *> calloc(max(len(pairs), 1), sizeof(int32_t))
        self.added = <float *> calloc(max(len(pairs), 1), sizeof(float))
        if self.tokens == NULL or self.added == NULL:
            raise MemoryError
        for token, added in pairs:
            if not 0 <= token <= 0x7FFFFFFF or math.isnan(added) or added > LARGEST:
                raise ParameterError("logit_bias", f"{token}: {added} is no bias", "use token ids and numbers, or -inf")
            self.tokens[self.n], self.added[self.n] = token, added
            self.n += 1

    def __dealloc__(self):
        free(self.tokens)
        free(self.added)

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        cdef int32_t i
        for i in range(self.n):
            if self.tokens[i] < view.n_vocab:
                view.logits[self.tokens[i]] += self.added[i]


cdef class Repetition(RowEdit):
    """Makes every token that the canvas has elsewhere less likely (above 1) or likelier (below 1)."""

    cdef readonly double penalty

    def __cinit__(self):
        self.counts_once = True

    def __init__(self, double penalty):
        if not 1.0 / LARGEST <= penalty <= LARGEST:
            raise ParameterError("repetition_penalty", f"{penalty} is no factor",
                                 f"use a number from {1 / LARGEST:g} to {LARGEST:g}; 1 changes nothing")
        self.penalty = penalty

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        cdef int32_t i, own = only_here(canvas, view.position)
        cdef float factor = <float> self.penalty
        cdef float *logit
        for i in range(canvas._n_distinct):
            if canvas._distinct[i] == own:
                continue
            logit = &view.logits[canvas._distinct[i]]
            logit[0] = logit[0] / factor if logit[0] > 0 else logit[0] * factor


cdef int32_t only_here(Canvas canvas, int32_t position) noexcept nogil:
    """The token of a settled position if it stands nowhere else; otherwise -1."""
    cdef int32_t i, token = canvas._tokens[position]
    if canvas.masked(position):
        return -1
    for i in range(canvas.n):
        if i != position and canvas._tokens[i] == token and not canvas.masked(i):
            return -1
    return token


cdef class Forbid(RowEdit):
    """These tokens are never written: the mask token always, the end of the text when asked for."""

    cdef int32_t tokens[4]
    cdef int32_t n

    def __init__(self, *tokens):
        if len(tokens) > 4:
            raise ParameterError("tokens", "more than four are forbidden one by one", "use a Bias of -inf")
        self.n = 0
        for token in tokens:
            self.tokens[self.n] = token
            self.n += 1

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        cdef int32_t i
        for i in range(self.n):
            if 0 <= self.tokens[i] < view.n_vocab:
                view.logits[self.tokens[i]] = -INFINITY
