# distutils: language = c++
# cython: auto_pickle=False
"""Grammar: which token may stand at the next place of a text, by llama.cpp's grammars."""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t

from hoshikage._llama cimport *
from hoshikage._log cimport forget_lines, last_lines
from hoshikage._model cimport Model

from hoshikage import gbnf
from hoshikage.errors import ParameterError

cdef extern from "csrc/samplers.h" nogil:
    cbool sampler_accept(llama_sampler *sampler, llama_token token) noexcept
    cbool sampler_apply(llama_sampler *sampler, llama_token_data_array *candidates) noexcept
    llama_sampler *sampler_grammar(const llama_vocab *vocab, const char *grammar) noexcept


cdef class Grammar:
    """A grammar in GBNF, and how far a text has followed it.

    It speaks of the place behind the tokens that were accepted. `checked`: llama.cpp can be trusted with the text.
    """

    def __init__(self, Model model not None, str text not None, *, bint checked=False):
        if self._sampler != NULL:
            raise RuntimeError("a grammar is made once")
        if not checked:
            gbnf.check(text)
        model.check_open()
        forget_lines()
        self._sampler = sampler_grammar(model.vocab, text.encode())
        if self._sampler == NULL:
            raise ParameterError("grammar", f"llama.cpp refuses it: {last_lines() or 'no reason given'}",
                                 "correct the grammar")
        self.model = model

    def __dealloc__(self):
        llama_sampler_free(self._sampler)

    cdef bint allows(self, int32_t token) noexcept nogil:
        """Whether this token may stand there."""
        cdef llama_token_data candidate
        cdef llama_token_data_array alone
        candidate.id, candidate.logit, candidate.p = token, 1.0, 0.0
        alone.data, alone.size, alone.selected, alone.sorted = &candidate, 1, -1, False
        return self.narrow(&alone) and candidate.logit > -INFINITY

    cdef bint narrow(self, llama_token_data_array *candidates) noexcept nogil:
        """Give those that may not the logit -inf. False: llama.cpp threw."""
        return sampler_apply(self._sampler, candidates)

    cdef bint accept(self, int32_t token) noexcept nogil:
        """The token stands. False: llama.cpp let one pass that it cannot follow, and the grammar is spent."""
        return sampler_accept(self._sampler, token)
