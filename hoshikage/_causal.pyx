"""Autoregressive generation: a batch of streams on one context, many tokens in one call without the GIL.

    session = CausalSession(Model("llama.gguf"), n_ctx=4096, n_seq=4)
    session.add(Stream(tokens, max_tokens=100, sampler=Sampler(temperature=0.7, seed=1)))
    finished = session.run()

A pass takes the newest token of every stream that writes and, as far as `n_batch` allows, prompts in equal parts. What
a sequence has left in the cache serves the next stream that begins with the same tokens.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

from hoshikage._board cimport board_words
from hoshikage._csrc cimport pool_run
from hoshikage._llama cimport *
from hoshikage._model cimport Model
from hoshikage._running cimport Running
from hoshikage._sampler cimport Sampler
from hoshikage._stream cimport END_NOT, END_UNREADABLE, Stream

from hoshikage._context import CAUSAL_UBATCH
from hoshikage.errors import ContextOverflowError, ParameterError, UnsupportedModelError

__all__ = ["CausalSession", "Sampler", "Stream"]

cdef class CausalSession(Running):
    """A batch of streams on one context of `n_ctx` positions and `n_seq` sequences.

    A pass computes at most `n_batch` tokens (0: what llama.cpp computes at once) and returns at most `n_rows` rows of
    logits (0: one a sequence), which is what bounds the scoring of prompts. The other options are those of
    `hoshikage._context.Context`. Streams may come and go between steps; the session belongs to one thread at a time.
    """

    def __init__(self, Model model not None, *, int n_ctx=0, int n_seq=1, int n_batch=0, int n_rows=0, int n_threads=0,
                 **context):
        if self.context is not None:
            raise RuntimeError("a session is opened once")
        check_causal(model)
        if n_batch < 0 or 0 < n_batch < n_seq:
            raise ParameterError("n_batch", f"{n_batch} tokens a pass are too few for {n_seq} sequences",
                                 "use at least n_seq, or 0")
        self.context = model.open_context(n_ctx=n_ctx, n_seq=n_seq, n_rows=max(n_rows, n_seq), n_threads=n_threads,
                                          **context)
        self.n_threads = self.context.n_threads
        if self.context.memory == NULL:
            self.context.close()
            raise UnsupportedModelError(model.path, f"{model.architecture} makes embeddings and writes no text",
                                        "use a model that generates")
        self._cuts = not (llama_model_is_recurrent(model.ptr) or llama_model_is_hybrid(model.ptr))
        self.n_batch = min(n_batch or max(CAUSAL_UBATCH, n_seq), self.context.n_tokens_max)
        self._streams = []
        self._kept = [None] * n_seq
        self._slots = <Slot *> calloc(n_seq, sizeof(Slot))
        self._live = <int32_t *> calloc(n_seq, sizeof(int32_t))
        self._readings = <Reading *> calloc(self.context.n_rows, sizeof(Reading))
        if self._slots == NULL or self._live == NULL or self._readings == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._slots)
        free(self._live)
        free(self._readings)
        free(self._room)

    def close(self):
        """Give the context's memory back."""
        with self._alone():
            for stream in list(self._streams):
                self._release(stream)
            self._kept = [None] * len(self._kept)
            self.context.close()

    cdef int _check_made(self) except -1:
        if self._readings == NULL:
            raise RuntimeError("the session was not opened")
        return 0

    @property
    def n_ctx(self):
        """Positions that fit, over all streams."""
        self._check_made()
        return self.context.n_cells

    @property
    def n_seq(self):
        """Streams that fit."""
        self._check_made()
        return self.context.n_streams

    @property
    def streams(self):
        """The streams in work."""
        return tuple(self._streams)

    # -- joining and leaving

    def add(self, Stream stream not None):
        """Take a stream in; it moves with the next step. What is cached of its first tokens is not computed again."""
        cdef int32_t seq
        with self._alone():
            self.context.check_open()
            self._check_new(stream)
            if not self._has_room(stream):
                raise ParameterError("n_seq", f"{len(self._streams)} streams have taken the sequences or the positions",
                                     "wait for one to end, or open the session with a larger n_seq or n_ctx")
            stream._enter(self.context.model, self.context.n_cells)
            if stream._chain.draws and self._room == NULL:
                self._make_room()
            seq = self._place(stream)
            stream.seq = seq
            self._kept[seq] = stream
            self._streams.append(stream)
            self._borrow_streams()

    def __contains__(self, stream):
        return any([stream is other for other in self.streams])

    def remove(self, Stream stream not None):
        """Let a stream go, finished or not. What it wrote stays readable, and it may be added again to go on."""
        with self._alone():
            if stream not in self:
                raise ParameterError("stream", "it is not in this session", "remove it where it was added")
            self._release(stream)

    def has_room(self, Stream stream not None):
        """Whether `add` would find a sequence and enough positions now: all that a stream may need are kept for it."""
        with self._alone():
            return self._has_room(stream)

    def forget(self):
        """Empty the cache of what finished streams have left there."""
        cdef int32_t seq
        with self._alone():
            self.context.check_open()
            for seq in range(self.context.n_streams):
                if self._slots[seq].stream == NULL:
                    self._cut(seq, 0)
                    self._kept[seq] = None

    def _check_new(self, Stream stream):
        cdef Model model = self.context.model
        if stream.sampler is None:
            raise RuntimeError("the stream was not made: Stream.__init__ was not called")
        if stream.seq >= 0:
            raise ParameterError("stream", "it is in a session already", "remove it there first")
        if stream.done:
            raise ParameterError("stream", "it is finished", "make a new one")
        if stream._model is not None and stream._model is not model:
            raise ParameterError("stream", "it was begun with another model", "make a new one")
        if stream.largest() >= model.n_vocab:
            raise ParameterError("tokens", f"id {stream.largest()} is outside the vocabulary of {model.n_vocab}",
                                 "use ids that tokenize returned")
        if stream._n > self.context.n_cells:
            raise ContextOverflowError(stream._n, self.context.n_cells)

    def _has_room(self, Stream stream):
        cdef Stream other
        cdef int32_t n_ctx = self.context.n_cells
        n_taken = sum([other._limit - 1 for other in self._streams])
        return len(self._streams) < self.context.n_streams and n_taken + stream._room_for(n_ctx) <= n_ctx

    cdef _release(self, Stream stream):
        self._streams = [other for other in self._streams if other is not stream]
        self._clock += 1
        self._slots[stream.seq].last_used = self._clock
        self._slots[stream.seq].stream = NULL
        stream.seq = -1
        if stream.done:
            stream._chain = None
        self._borrow_streams()

    cdef _borrow_streams(self):
        cdef Stream stream
        self._n_live = 0
        for stream in self._streams:
            self._slots[stream.seq].stream = <void *> stream
            self._live[self._n_live] = stream.seq
            self._n_live += 1

    cdef _make_room(self):
        # The row that a stream draws from comes behind those of its prompt that are judged: into any share.
        cdef size_t n_shares = min(self.n_threads, self.context.n_rows)
        self._room = <llama_token_data *> calloc(n_shares * self.context.n_vocab, sizeof(llama_token_data))
        if self._room == NULL:
            raise MemoryError

    # -- the cache

    cdef int32_t _place(self, Stream stream):
        """Choose a slot, and bring what is cached of the stream's first tokens into it.

        The slot that holds most of them is continued when nothing is lost by that; otherwise a copy of it is, which
        shares its cells, in the slot that was left longest ago.
        """
        cdef int32_t seq, source = 0, n_usable = 0, n
        for seq in range(self.context.n_streams):
            n = self._usable(stream, seq)
            if n > n_usable or (n == n_usable and self._slots[source].stream != NULL):
                source, n_usable = seq, n
        if self._slots[source].stream == NULL and n_usable == self._slots[source].n_cached:
            seq = source
        else:
            seq = self._longest_idle(False)
        if seq != source:
            self._cut(seq, 0)
            if n_usable > 0:  # whole, then cut back: some memories cannot copy a part
                llama_memory_seq_cp(self.context.memory, source, seq, -1, -1)
        self._cut(seq, n_usable)
        return seq

    cdef int32_t _usable(self, Stream stream, int32_t seq):
        """How many of the stream's first tokens this slot holds; the last is left, for its row is wanted."""
        cdef Stream kept = self._kept[seq]
        cdef int32_t n, most = min(self._slots[seq].n_cached, stream._n - 1)
        if kept is None:
            return 0
        if stream.score_prompt and stream._n_scored < stream.n_prompt - 1:
            most = min(most, stream._n_scored)  # a row is not cached: what was not read has to be computed
        n = 0
        while n < most and kept._tokens[n] == stream._tokens[n]:
            n += 1
        return n if self._cuts or n == self._slots[seq].n_cached else 0

    cdef int32_t _longest_idle(self, bint filled) noexcept nogil:
        """The slot that was left longest ago, an empty one before all others (unless `filled`); -1 if there is none."""
        cdef int32_t seq, found = -1
        for seq in range(self.context.n_streams):
            if self._slots[seq].stream != NULL or (filled and self._slots[seq].n_cached == 0):
                continue
            if found < 0 or self._slots[seq].last_used < self._slots[found].last_used:
                found = seq
        return found

    cdef void _cut(self, int32_t seq, int32_t n) noexcept nogil:
        """Leave the first `n` tokens in the cache; none of them, where the memory cannot be cut."""
        if n == 0 or not llama_memory_seq_rm(self.context.memory, seq, n, -1):
            llama_memory_seq_rm(self.context.memory, seq, -1, -1)
            n = 0
            self._slots[seq].last_used = 0
        self._slots[seq].n_cached = n

    # -- running

    cdef bint _has_work(self) except -1:
        if self._streams:
            self.context.check_open()
        return len(self._streams) > 0

    cdef void _watch(self, board_words *board) noexcept:
        self.context.board = board

    cdef list _let_go(self):
        finished = [stream for stream in self._streams if stream.done or stream.paused]
        for stream in finished:
            self._release(stream)
        if any([(<Stream> stream)._end == END_UNREADABLE for stream in finished]):
            self._start_over()
        return finished

    cdef _start_over(self):
        """Empty the cache: what is no number there would spoil every pass after it, masked or not."""
        cdef int32_t seq
        llama_memory_clear(self.context.memory, True)
        for seq in range(self.context.n_streams):
            self._slots[seq].n_cached = 0
            if self._slots[seq].stream == NULL:
                self._kept[seq], self._slots[seq].last_used = None, 0

    cdef int _one_step(self) except -1 nogil:
        """One pass, and a token for every stream whose row it returned."""
        cdef int32_t k
        self._fill_batch()
        self._decode()
        self._read_rows()
        for k in range(self._n_readings):
            if (<Stream> self._readings[k].stream)._end != END_NOT:
                return 1
        return 0

    cdef void _fill_batch(self) noexcept nogil:
        """The newest token of each stream that writes, and of those that still read their prompt an equal part each."""
        cdef int32_t k, i, n, left, n_reading = 0, n_rows = self.context.n_rows - self._n_live
        cdef Slot *slot
        for k in range(self._n_live):
            slot = &self._slots[self._live[k]]
            n_reading += (<Stream> slot.stream)._n - slot.n_cached > 1
        left = self.n_batch - (self._n_live - n_reading)  # at least n_reading, because n_batch is at least n_seq
        self.context.clear_batch()
        for k in range(self._n_live):
            slot = &self._slots[self._live[k]]
            n = (<Stream> slot.stream)._n - slot.n_cached
            if n > 1:
                n = min(n, left // n_reading)
                if (<Stream> slot.stream).score_prompt:
                    n = min(n, 1 + n_rows)
                    n_rows -= n - 1
                left -= n
                n_reading -= 1
            slot.n_next = slot.n_cached + n
            for i in range(slot.n_cached, slot.n_next):
                self.context.put((<Stream> slot.stream)._tokens[i], i, self._live[k],
                                 (<Stream> slot.stream).wants_row(i))

    cdef int _decode(self) except -1 nogil:
        """Run the batch, at the expense of the oldest finished sequences when cells are short."""
        cdef int32_t k, oldest, rc = llama_decode(self.context.ptr, self.context.batch)
        while rc == 1:
            oldest = self._longest_idle(True)
            if oldest < 0:
                break
            self._cut(oldest, 0)
            rc = llama_decode(self.context.ptr, self.context.batch)
        if rc != 0:  # a part of the batch may have gone in
            for k in range(self._n_live):
                self._cut(self._live[k], self._slots[self._live[k]].n_cached)
        return self.context.check(rc)

    cdef void _read_rows(self) noexcept nogil:
        cdef int32_t k, i
        cdef Slot *slot
        self._n_readings = 0
        for k in range(self._n_live):
            slot = &self._slots[self._live[k]]
            (<Stream> slot.stream).count(slot.n_cached, slot.n_next)
            for i in range(slot.n_cached, slot.n_next):
                if (<Stream> slot.stream).wants_row(i):
                    self._readings[self._n_readings].stream = slot.stream
                    self._readings[self._n_readings].position = i
                    self._readings[self._n_readings].row = self.context.row(self._n_readings)
                    self._n_readings += 1
            slot.n_cached = slot.n_next
        self._n_shares = min(self.n_threads, self._n_readings)
        pool_run(read_share, <void *> self, self._n_shares, self._n_shares)
        for k in range(self._n_live):
            slot = &self._slots[self._live[k]]
            if (<Stream> slot.stream).score_prompt:
                (<Stream> slot.stream).scored(slot.n_cached)

    cdef void _read_share(self, int32_t share) noexcept nogil:
        """Every so many readings are one thread's, which has candidates of its own."""
        cdef int32_t k = share
        cdef llama_token_data *room = NULL if self._room == NULL else self._room + <size_t> share * self.context.n_vocab
        while k < self._n_readings:
            (<Stream> self._readings[k].stream).read(self._readings[k].position, self._readings[k].row, room)
            k += self._n_shares


cdef void read_share(void *session, int32_t share) noexcept nogil:
    (<CausalSession> session)._read_share(share)


def check_causal(Model model):
    """Refuses what does not write text from left to right."""
    model.check_open()
    if model.is_diffusion:
        raise ParameterError("model", f"{model.architecture} is a diffusion model", "open a hoshikage._core.Session")
    if llama_model_has_encoder(model.ptr) or not llama_model_has_decoder(model.ptr):
        raise UnsupportedModelError(model.path, f"{model.architecture} has an encoder, which is not supported yet",
                                    "use a decoder-only model")


# A type that is cimported is not a name of this module by itself.
globals().update(Sampler=Sampler, Stream=Stream)
