# cython: auto_pickle=False
"""A text that follows a grammar, in whatever order its model would have written it."""

from hoshikage._canvas cimport Canvas, Form, Job, Quota
from hoshikage._grammar cimport Grammar
from hoshikage._llama cimport llama_token_data, llama_token_data_array, llama_vocab_is_eog
from hoshikage._rows cimport draw_token, judge
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy


cdef class Followed(Form):
    """The first masked place gets the best token that the grammar allows there. Behind it the model's own choices may
    stand as far as the grammar goes along with them; but nothing behind a token that was not the model's own, for what
    it says there it has said of another text.
    """

    cdef readonly Grammar grammar
    cdef int32_t _next              # the grammar has all before this position
    cdef bint _over                 # the end of the text was among it
    cdef llama_token_data *_room    # [n_vocab]
    cdef float *_kept               # [n_vocab]

    def __init__(self, Grammar grammar not None):
        if self._room != NULL:
            raise RuntimeError("a form is made once")
        if grammar.model is None:
            raise RuntimeError("the grammar's making failed; make a new one")
        self.grammar, self.model, self.n_vocab = grammar, grammar.model, grammar.model.n_vocab
        self._room = <llama_token_data *> calloc(grammar.model.n_vocab, sizeof(llama_token_data))
        self._kept = <float *> calloc(grammar.model.n_vocab, sizeof(float))
        if self._room == NULL or self._kept == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._room)
        free(self._kept)

    cdef int32_t follow(self, Canvas canvas, Job *jobs, int32_t n_jobs, Quota quota) noexcept nogil:
        cdef int32_t i
        cdef bint own
        if not self.take_settled(canvas):
            return -1
        if self._over:
            return n_jobs
        for i in range(n_jobs):
            if jobs[i].row.position != self._next:
                return i
            self.choose(canvas, &jobs[i], i == 0)
            if i > 0 and not canvas.rule.takes(jobs[i].row, i, quota):
                return i
            own = self.grammar.allows(jobs[i].row.token)
            if not own and (i > 0 or not self.change(canvas, &jobs[i])):
                return i
            if self.ends(jobs[i].row.token):
                return i + 1    # if it comes to stand: a pass that is not warm does not write it
            if not self.grammar.accept(jobs[i].row.token):
                return -1
            self._next += 1
            if not own:
                return i + 1
        return n_jobs

    cdef bint take_settled(self, Canvas canvas) noexcept nogil:
        """Let the grammar have what stands and was not of its choosing. False: it cannot follow."""
        cdef int32_t token
        self._next = max(self._next, canvas.lo)
        while not self._over and self._next < canvas.hi and not canvas.masked(self._next):
            token = canvas._tokens[self._next]
            self._over = self.ends(token)
            if not self._over and not self.grammar.accept(token):
                return False
            self._next += 1
        return True

    cdef bint ends(self, int32_t token) noexcept nogil:
        return llama_vocab_is_eog(self.grammar.model.vocab, token)

    cdef void choose(self, Canvas canvas, Job *job, bint may_change) noexcept nogil:
        """The token that the model would write."""
        if canvas.temperature > 0.0:
            if may_change:
                memcpy(self._kept, job.view.logits, job.view.n_vocab * sizeof(float))
            draw_token(canvas, job.row, &job.view)
            judge(canvas, job.row)

    cdef bint change(self, Canvas canvas, Job *job) noexcept nogil:
        """One of those that may stand there, in place of it. False: there is none."""
        if canvas.temperature > 0.0:
            memcpy(job.view.logits, self._kept, job.view.n_vocab * sizeof(float))
        self.narrow(job.view.logits, job.view.n_vocab)
        draw_token(canvas, job.row, &job.view)
        if job.row.token >= 0:
            judge(canvas, job.row)
        return job.row.token >= 0

    cdef void narrow(self, float *logits, int32_t n_vocab) noexcept nogil:
        """Forbid what the grammar does."""
        cdef llama_token_data_array all_of_them
        cdef int32_t token
        for token in range(n_vocab):
            self._room[token].id, self._room[token].logit, self._room[token].p = token, logits[token], 0.0
        all_of_them.data, all_of_them.size = self._room, n_vocab
        all_of_them.selected, all_of_them.sorted = -1, False
        if not self.grammar.narrow(&all_of_them):
            all_of_them.size = 0
        for token in range(n_vocab):
            logits[token] = -INFINITY
        for token in range(<int32_t> all_of_them.size):
            logits[self._room[token].id] = self._room[token].logit
