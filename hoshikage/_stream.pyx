"""Stream: the tokens of one autoregressive request, and how the next one is chosen and written."""

from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, realloc

from hoshikage._csrc cimport SCAN_INVALID, scan_record, scan_row
from hoshikage._llama cimport llama_token_data, llama_vocab_is_eog
from hoshikage._model cimport Model
from hoshikage._sampler cimport PICK_NONE, Chain, Sampler
from hoshikage._tops cimport Tops

import operator

from hoshikage.checks import Whole
from hoshikage.errors import ParameterError, fault_named

MAX_ID = 0x7FFFFFFF


def _ids(str name, tokens):
    try:
        ids = [operator.index(token) for token in tokens]
    except TypeError:
        raise ParameterError(name, "they are not token ids", "give a sequence of integers") from None
    if any(token < 0 or token > MAX_ID for token in ids):
        raise ParameterError(name, "a token id is negative or too large", "use ids of the model's vocabulary")
    return ids


cdef int32_t *_array_of(list ids) except NULL:
    cdef int32_t *array = <int32_t *> calloc(max(len(ids), 1), sizeof(int32_t))
    if array == NULL:
        raise MemoryError
    for i, token in enumerate(ids):
        array[i] = token
    return array


cdef class Stream:
    """A prompt, and the tokens written behind it.

    It ends with a token of `stop_ids` (None: those that the model says), after `max_tokens` (None: with the context),
    or because no token can follow; then `stop_reason` is "error", and `error` says why. `n_top` alternatives are kept
    of each token, and with `score_prompt` the prompt's own tokens are judged as if they had been written.

    With a `share`, positions are kept for so many tokens only: with these written it leaves its session, `paused`, and
    goes on where it is added again, with a share twice as large.
    """

    def __cinit__(self):
        self.seq = -1

    def __init__(self, tokens, *, max_tokens=None, Sampler sampler=None, stop_ids=None, n_top=0,
                 bint score_prompt=False, share=None):
        if self._tokens != NULL:
            raise RuntimeError("a stream is made once")
        self.max_tokens = 0 if max_tokens is None else Whole(1, MAX_ID).check("max_tokens", max_tokens)
        self.share = 0 if share is None else Whole(1, MAX_ID).check("share", share)
        if self.share and not self.max_tokens:
            raise ParameterError("share", "there is no end that it is a share of", "give max_tokens as well")
        self.sampler = sampler if sampler is not None else Sampler()
        self.score_prompt = score_prompt
        self._tops = Tops(n_top) if n_top else None
        self._take_tokens(tokens)
        self._take_stop_ids(stop_ids)

    def __dealloc__(self):
        free(self._tokens)
        free(self._logprobs)
        free(self._stop_ids)

    cdef _take_tokens(self, tokens):
        ids = _ids("tokens", tokens)
        if not ids:
            raise ParameterError("tokens", "the prompt is empty", "give at least one token, such as BOS")
        if self._tokens != NULL:  # made meanwhile, by that iteration
            raise RuntimeError("a stream is made once")
        self._tokens = _array_of(ids)
        self.n_prompt = self._n = len(ids)

    cdef _take_stop_ids(self, stop_ids):
        if stop_ids is not None:
            ids = sorted(set(_ids("stop_ids", stop_ids)))
            self._stop_ids = _array_of(ids)
            self._n_stop_ids = len(ids)

    # -- what it says

    @property
    def prompt(self):
        return [self._tokens[i] for i in range(self.n_prompt)]

    @property
    def tokens(self):
        """What was written so far, the token that ended it included."""
        return self.tail(0)

    def tail(self, int32_t lo):
        """What was written, from number `lo` on."""
        cdef int64_t first = <int64_t> self.n_prompt + max(lo, 0)
        cdef int64_t i
        return [self._tokens[i] for i in range(first, self._n)]

    @property
    def logprobs(self):
        """For each written token, the logarithm of its probability in the model's own distribution."""
        return [self._logprobs[i] for i in range(self.n_prompt, self._n)]

    @property
    def prompt_logprobs(self):
        """The same of the prompt's tokens, as far as it was read; NaN for the first, which follows nothing."""
        return [NAN, *[self._logprobs[i] for i in range(1, self._n_scored + 1)]]

    def top(self, int32_t number):
        """The likeliest tokens with their logprobs where written token `number` stands; negative ones: the prompt's."""
        return [] if self._tops is None else self._tops.at(self.n_prompt + number)

    @property
    def n_tokens(self):
        """How many were written."""
        return self._n - self.n_prompt

    @property
    def done(self):
        return self._end != END_NOT and self._end != END_PAUSED

    @property
    def paused(self):
        """Whether its share is written, and it waits to be added to a session again."""
        return self._end == END_PAUSED

    @property
    def stop_reason(self):
        """None while it goes on, then "stop", "length" or "error"."""
        if not self.done:
            return None
        return "stop" if self._end == END_STOP else "length" if self._end == END_LENGTH else "error"

    @property
    def error(self):
        """The exception that tells why no token could follow, or None."""
        name = {END_UNREADABLE: "unreadable", END_NO_TOKEN: "forbidden", END_SAMPLER: "given up"}.get(self._end)
        return None if name is None else fault_named(name, f"after {self.n_tokens} written tokens")

    # -- inside a session

    cdef int64_t _room_for(self, int32_t n_ctx) noexcept:
        """The positions that it may come to take. The last token is never put in."""
        if self.share:
            return <int64_t> self.n_prompt + min(self.share, self.max_tokens) - 1
        return n_ctx if self.max_tokens == 0 else min(<int64_t> self.n_prompt + self.max_tokens - 1, n_ctx)

    cdef _enter(self, Model model, int32_t n_ctx):
        """Make ready for a context: buffers for all that can come, and the sampler's chain."""
        cdef int32_t limit = <int32_t> self._room_for(n_ctx) + 1
        cdef int32_t *tokens = <int32_t *> realloc(self._tokens, limit * sizeof(int32_t))
        if tokens == NULL:
            raise MemoryError
        self._tokens = tokens
        self._take_logprobs(limit)
        self._limit = limit
        if self._chain is None:
            chain = self.sampler.open(model, n_ctx)
            if not (<Chain> chain).recall(self._tokens, self._n):
                raise MemoryError
            self._model, self._chain = model, chain
        if self._end == END_PAUSED:
            self._end = END_NOT

    cdef int _take_logprobs(self, int32_t limit) except -1:
        cdef float *logprobs = <float *> realloc(self._logprobs, limit * sizeof(float))
        if logprobs == NULL:
            raise MemoryError
        self._logprobs = logprobs
        if self._tops is not None:
            self._tops.resize(limit)
        return 0

    cdef int32_t largest(self) noexcept nogil:
        cdef int32_t i, found = 0
        for i in range(self._n):
            found = max(found, self._tokens[i])
        return found

    cdef bint ends(self, int32_t token) noexcept nogil:
        cdef int32_t i
        if self._stop_ids == NULL:
            return llama_vocab_is_eog(self._model.vocab, token)
        for i in range(self._n_stop_ids):
            if self._stop_ids[i] == token:
                return True
        return False

    cdef void count(self, int32_t lo, int32_t hi) noexcept nogil:
        """A pass has computed its tokens from `lo` to `hi`."""
        self.n_passes += 1
        self.n_prompt_computed += min(hi, self.n_prompt) - min(lo, self.n_prompt)

    cdef void read(self, int32_t position, const float *row, llama_token_data *room) noexcept nogil:
        """Take what the row behind a token says; rows of a prompt may be read by several threads at once."""
        if position < self.n_prompt - 1:
            self.read_prompt(position, row)
        else:
            self.choose(row, room)

    cdef void choose(self, const float *row, llama_token_data *room) noexcept nogil:
        """Choose the next token from its row."""
        cdef scan_record scan
        cdef int32_t token
        scan_row(row, self._model.n_vocab, &scan)
        if scan.best < 0:
            self._end = END_UNREADABLE if scan.best == SCAN_INVALID else END_NO_TOKEN
            return
        if self._tops is not None:
            self._tops.read(self._n, row, self._model.n_vocab, &scan)
        token = self._chain.pick(row, self._model.n_vocab, scan.best, room)
        if token < 0:
            self._end = END_NO_TOKEN if token == PICK_NONE else END_SAMPLER
        elif not self._chain.accept(token):
            self._end = END_SAMPLER
        else:
            self.write(token, row[token] - scan.best_logit - scan.excess)

    cdef bint wants_row(self, int32_t position) noexcept nogil:
        """Whether the logits behind a token are read."""
        return position == self._n - 1 or (self.score_prompt and position < self.n_prompt)

    cdef void scored(self, int32_t n) noexcept nogil:
        """The rows before position `n` have been read."""
        self._n_scored = max(self._n_scored, min(n, self.n_prompt - 1))
        if self._unreadable:
            self._end = END_UNREADABLE

    cdef void read_prompt(self, int32_t position, const float *row) noexcept nogil:
        """Judge the token that the prompt has behind this position."""
        cdef scan_record scan
        cdef int32_t token = self._tokens[position + 1]
        scan_row(row, self._model.n_vocab, &scan)
        if scan.best < 0:
            self._unreadable = True
            return
        self._logprobs[position + 1] = row[token] - scan.best_logit - scan.excess
        if self._tops is not None:
            self._tops.read(position + 1, row, self._model.n_vocab, &scan)

    cdef void write(self, int32_t token, float logprob) noexcept nogil:
        self._tokens[self._n] = token
        self._logprobs[self._n] = logprob
        self._n += 1
        if self.ends(token):
            self._end = END_STOP
        elif self._n == self._limit and self.share and self.share < self.max_tokens:
            self._end = END_PAUSED
            self.share = <int32_t> min(<int64_t> 2 * self.share, self.max_tokens)
        elif self._n == self._limit:
            self._end = END_LENGTH
