"""Context: one llama.cpp context, as something that turns canvases into rows of logits."""

cimport cython
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

from hoshikage._board cimport board_words
from hoshikage._canvas cimport Forward, Span
from hoshikage._llama cimport *
from hoshikage._log cimport forget_lines, last_lines
from hoshikage._model cimport Model

import os

from hoshikage._raw import fault_of_ladders
from hoshikage.errors import Cancelled, DecodeError, MemoryExhausted, ParameterError

FLASH_ATTENTION = {"auto": LLAMA_FLASH_ATTN_TYPE_AUTO, "on": LLAMA_FLASH_ATTN_TYPE_ENABLED,
                   "off": LLAMA_FLASH_ATTN_TYPE_DISABLED}
CACHE_TYPES = {"f32": GGML_TYPE_F32, "f16": GGML_TYPE_F16, "bf16": GGML_TYPE_BF16, "q8_0": GGML_TYPE_Q8_0,
               "q5_1": GGML_TYPE_Q5_1, "q5_0": GGML_TYPE_Q5_0, "q4_1": GGML_TYPE_Q4_1, "q4_0": GGML_TYPE_Q4_0,
               "iq4_nl": GGML_TYPE_IQ4_NL}
DEFAULT_CTX = 4096      # at most, when no length is asked for: a model's own may be 128k and cost gigabytes
PARAMS_A_THREAD = 8_000_000
MOST_THREADS = 1024     # llama.cpp does not survive a thread that the system refuses
CELL_MULTIPLE = 256     # llama.cpp rounds a context up to this
CAUSAL_UBATCH = 512     # a causal prompt goes in parts; a bidirectional canvas must go whole


def usable_cores():
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for(n_params):
    """One per core, fewer for a small model.

    llama.cpp's threads wait for each other after every operation, and while one of them is kept off its core by some
    other program the rest spin: a model that one thread computes in milliseconds then takes a second.
    """
    return min(usable_cores(), max(1, n_params // PARAMS_A_THREAD))


cdef int checked_threads(str name, int n_threads) except -1:
    if not 0 <= n_threads <= MOST_THREADS:
        raise ParameterError(name, f"{n_threads} threads are out of range",
                             f"use at most {MOST_THREADS}, or 0 for as many as suit the model")
    return n_threads


cdef cbool asked_to_stop(void *data) noexcept nogil:
    """llama.cpp's abort callback: asked between the nodes of a CPU graph, by one of its threads."""
    cdef board_words *board = (<Context> data).board
    if board == NULL:
        return False
    board.n_nodes += 1
    return board.cancel != 0


cdef _choice(str name, value, table):
    if value not in table:
        raise ParameterError(name, f"{value!r} is unknown", f"use one of {', '.join(table)}")
    return table[value]


cdef object fault_of_any_ladder = ""    # None: none; "": nobody has looked


def ladders_hold(Context context):
    """Whether this llama.cpp lets blocks of one pass see what they should, which is looked at once in a process.

    It keeps a token's sequences in a hash table and masks by the one that comes first when it goes through that, which
    nothing promises. With GNU's library it is the last that went in, as long as all fall into buckets of their own; of
    thirteen buckets numbers in a row do.
    """
    global fault_of_any_ladder
    if fault_of_any_ladder == "":
        fault_of_any_ladder = fault_of_ladders(context)
    return fault_of_any_ladder is None


cdef in_cells(n):
    """As many positions as llama.cpp makes room for where so many are wanted."""
    return (n + CELL_MULTIPLE - 1) // CELL_MULTIPLE * CELL_MULTIPLE


cdef int32_t n_rungs_of(const Span *span) noexcept nogil:
    return 1 if span.rung == 0 else (span.hi - span.lo + span.rung - 1) // span.rung


@cython.no_gc_clear  # a context is freed before its model, and finds it by this attribute then
cdef class Context(Forward):
    """A context of `n_ctx` positions over at most `n_seq` streams, of which one pass returns at most `n_rows` rows.

    A masked model attends in both directions. Its canvas must go through in one piece, so a pass takes `n_tokens`
    positions, the longest canvas's (0: all of them); what it computes with takes memory for as many. (A block model's
    or a causal one's pass has its own length.) A span of blocks may be a ladder of at most `n_rungs`, if there is room.
    """

    def __init__(self, Model model not None, *, int n_ctx=0, int n_seq=1, int n_rows=0, int n_tokens=0, int n_rungs=1,
                 int n_threads=0, int n_threads_batch=0, str flash_attn="auto", str type_k="f16", str type_v="f16"):
        if self.model is not None:
            raise RuntimeError("a context is made once")
        model.check_open()
        self.model = model
        self.n_vocab = model.n_vocab
        self._check_sizes(n_ctx, n_seq, n_rows, n_tokens)
        cdef llama_context_params params = llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self.n_cells
        if model.is_diffusion and model.block_length == 0:
            params.n_batch = params.n_ubatch = min(self.n_cells, in_cells(n_tokens or self.n_cells))
        else:
            params.n_ubatch = min(self.n_cells, max(CAUSAL_UBATCH, n_seq * model.block_length))
        if model.block_length > 0:
            self.n_rungs = max(1, min(n_rungs, llama_max_parallel_sequences() // n_seq,
                                      params.n_ubatch // (n_seq * model.block_length)))
            self.n_rows = max(self.n_rows, n_seq * self.n_rungs)  # llama.cpp wants a row for each sequence
        params.n_seq_max, params.n_outputs_max = self.n_streams * self.n_rungs, self.n_rows
        self.n_threads = params.n_threads = checked_threads("n_threads", n_threads) or threads_for(model.n_params)
        params.n_threads_batch = checked_threads("n_threads_batch", n_threads_batch) or params.n_threads
        params.flash_attn_type = _choice("flash_attn", flash_attn, FLASH_ATTENTION)
        params.type_k, params.type_v = _choice("type_k", type_k, CACHE_TYPES), _choice("type_v", type_v, CACHE_TYPES)
        params.kv_unified = params.swa_full = params.no_perf = True
        params.abort_callback, params.abort_callback_data = asked_to_stop, <void *> self
        self._open(params)

    cdef _check_sizes(self, int n_ctx, int n_seq, int n_rows, int n_tokens):
        """Sizes that llama.cpp would answer with an abort are refused here."""
        if n_ctx < 0 or n_seq < 1 or n_rows < 0 or n_tokens < 0:
            raise ParameterError("n_ctx", "a context's sizes are not negative", "use 0 for the default")
        if n_seq > llama_max_parallel_sequences():
            raise ParameterError("n_seq", f"{n_seq} streams are too many",
                                 f"use at most {llama_max_parallel_sequences()}")
        if n_ctx > (1 << 24):
            raise ParameterError("n_ctx", f"{n_ctx} positions are too many", f"use at most {1 << 24}")
        length = n_ctx or min(self.model.n_ctx_train or DEFAULT_CTX, DEFAULT_CTX)
        self.n_cells = in_cells(length)
        self.n_streams = n_seq
        # Without a memory llama.cpp returns every row, wanted or not.
        self.n_rows = self.n_cells if self.model.native or n_rows == 0 else min(max(n_rows, n_seq), self.n_cells)

    cdef _open(self, llama_context_params params):
        forget_lines()
        self.batch = llama_batch_init(self.n_cells, 0, self.n_rungs)
        self.wanted = <int32_t *> calloc(self.n_rows, sizeof(int32_t))
        if self.batch.token == NULL or self.wanted == NULL:
            raise MemoryError
        self.model._users += 1  # from here on no other thread closes the model
        with nogil:
            self.ptr = llama_init_from_model(self.model.ptr, params)
        if self.ptr == NULL:
            self.model._users -= 1
            raise MemoryExhausted(f"no context of {self.n_cells} positions for {self.model.path}: "
                                  f"{last_lines() or 'llama.cpp gave no reason'}",
                                  "use a shorter context (n_ctx), another cache type, or fewer GPU layers")
        self.bare_params = params
        self.bare_params.n_ctx = CELL_MULTIPLE
        self.bare_params.n_ubatch = self.bare_params.n_outputs_max = self.bare_params.n_seq_max = self.n_streams
        # Or its batches would be no longer than its cache:
        self.bare_params.attention_type = LLAMA_ATTENTION_TYPE_NON_CAUSAL
        self.memory = llama_get_memory(self.ptr)
        self.caches = self.patches = self.memory != NULL and self.model.is_diffusion
        # A canvas that sees in both directions cannot be computed in parts.
        self.n_tokens_max = llama_n_ubatch(self.ptr) if self.model.is_diffusion else llama_n_batch(self.ptr)
        if self.model.is_diffusion:
            llama_set_causal_attn(self.ptr, False)
        if self.n_rungs > 1 and not ladders_hold(self):
            self.n_rungs = 1

    def __dealloc__(self):
        self.free_context()
        llama_batch_free(self.batch)
        free(self.wanted)

    def close(self):
        """Give the context's memory back."""
        self.check_idle()
        self.free_context()

    cdef void free_context(self) noexcept:
        if self.ptr != NULL:
            llama_batch_ext_free(self.loose)
            llama_free(self.bare)
            llama_free(self.ptr)
            self.loose, self.bare = NULL, NULL
            self.ptr = NULL
            self.memory = NULL
            self.model._users -= 1

    cdef int check_idle(self) except -1:
        if self.board != NULL:
            raise RuntimeError("the context is at work; stop the session first")
        return 0

    cdef int check_open(self) except -1:
        if self.ptr == NULL:
            raise RuntimeError("the session is closed")
        return 0

    # -- one forward pass

    cdef void clear_batch(self) noexcept nogil:
        self.batch.n_tokens = 0
        self.n_wanted = 0

    cdef void put(self, int32_t token, int32_t position, int32_t seq, bint wants_row) noexcept nogil:
        cdef int32_t i = self.batch.n_tokens
        self.batch.token[i] = token
        self.batch.pos[i] = position
        self.batch.n_seq_id[i] = 1
        self.batch.seq_id[i][0] = seq
        self.batch.logits[i] = wants_row
        self.batch.n_tokens = i + 1
        if wants_row:
            self.wanted[self.n_wanted] = i
            self.n_wanted += 1

    cdef int decode_loosely(self) except -1 nogil:
        """Run the batch although the cache holds positions behind its own."""
        cdef int32_t i, k
        if self.loose == NULL:
            self.open_bare()
        llama_batch_ext_clear(self.loose)
        for i in range(self.batch.n_tokens):
            k = llama_batch_ext_add_token(self.loose, self.batch.seq_id[i][0], self.batch.token[i])
            if k < 0:
                return self.check(k)
            llama_batch_ext_set_pos(self.loose, k, &self.batch.pos[i])
            llama_batch_ext_set_output_logits(self.loose, k, self.batch.logits[i] != 0)
        return self.check(llama_process(self.ptr, LLAMA_PROCESS_TYPE_DECODE, self.loose))

    cdef int open_bare(self) except -1 nogil:
        """llama.cpp lets a batch start only where its sequence ends, and asks the cache of the context that made the
        batch. One that another, empty context made may start anywhere. (`fault_of_block_passes` proves that it works.)
        """
        self.bare = llama_init_from_model(self.model.ptr, self.bare_params)
        if self.bare != NULL:
            self.loose = llama_batch_ext_init(self.bare)
        if self.loose == NULL:
            with gil:
                raise MemoryExhausted(f"no second context for {self.model.path}: {last_lines() or 'no reason given'}",
                                      "use the window plan, a shorter context, or fewer GPU layers")
        return 0

    cdef int check(self, int32_t rc) except -1 nogil:
        """llama.cpp's codes become our exceptions."""
        if rc == 0:
            return 0
        with gil:
            if rc == 2:
                raise Cancelled("the forward pass was cancelled")
            if rc == 1:
                raise DecodeError(f"no room for {self.batch.n_tokens} tokens in a context of {self.n_cells}",
                                  "use a longer context (n_ctx)")
            raise DecodeError(f"llama.cpp failed with code {rc}: {last_lines() or 'no reason given'}",
                              "if memory is short, use a shorter context or fewer GPU layers")

    cdef int run(self, Span *spans, int32_t n_spans) except -1 nogil:
        cdef int32_t k, i, rc
        cdef bint behind = False
        cdef Span *span
        self.check_spans(spans, n_spans)
        self.clear_batch()
        for k in range(n_spans):
            span = &spans[k]
            span.first_row = self.n_wanted
            behind = behind or span.hi < span.end
            if self.memory != NULL:
                # What is computed again has to go first: a cell that is there twice is attended to twice.
                llama_memory_seq_rm(self.memory, self.home(span.seq), span.lo, span.hi)
                llama_memory_seq_rm(self.memory, self.home(span.seq), span.end, -1)
            for i in range(span.lo, span.hi):
                self.put(span.tokens[i], i, self.home(span.seq),
                         span.row_lo <= i < span.row_hi or span.tail_lo <= i < span.tail_hi)
            self.raise_ladder(span)
        if behind:
            return self.decode_loosely()
        rc = llama_decode(self.ptr, self.batch)
        for k in range(n_spans):
            self.take_ladder_down(&spans[k])
        return self.check(rc)

    cdef void raise_ladder(self, const Span *span) noexcept nogil:
        """Let each rung of the span that was put last see what is before it, and itself.

        A token sees the cells of one sequence, whatever others its own cell belongs to. So every rung but the last has
        a sequence, which begins as a copy of the span's, and to which all up to this rung belong. Which one a token
        sees by is the one that was named last, because of how llama.cpp happens to keep them: see `ladders_hold`.
        """
        cdef int32_t n = n_rungs_of(span), home = self.home(span.seq), token = self.batch.n_tokens, i, k, rung
        for k in range(n - 1):
            llama_memory_seq_cp(self.memory, home, home + 1 + k, -1, -1)
        token -= span.hi - span.lo
        for i in range(span.hi - span.lo if n > 1 else 0):
            rung = i // span.rung
            for k in range(rung, n - 1):
                self.batch.seq_id[token + i][n - 1 - k] = home + 1 + k
            self.batch.n_seq_id[token + i] = n - rung  # the span's own, which `put` has named, is the first

    cdef void take_ladder_down(self, const Span *span) noexcept nogil:
        """All its cells stay the span's."""
        cdef int32_t k
        for k in range(n_rungs_of(span) - 1):
            llama_memory_seq_rm(self.memory, self.home(span.seq) + 1 + k, -1, -1)

    cdef int32_t home(self, int32_t seq) noexcept nogil:
        """A stream's own sequence; those of its rungs come next."""
        return seq * self.n_rungs

    cdef int check_spans(self, Span *spans, int32_t n_spans) except -1 nogil:
        """What would end the process inside llama.cpp is an exception here."""
        cdef int32_t k, n_tokens = 0, n_rows = 0
        cdef bint fits = self.ptr != NULL
        for k in range(n_spans):
            n_tokens += spans[k].hi - spans[k].lo
            n_rows += spans[k].row_hi - spans[k].row_lo + spans[k].tail_hi - spans[k].tail_lo
            fits = fits and 0 <= spans[k].seq < self.n_streams and 0 <= spans[k].lo <= spans[k].row_lo
            fits = fits and spans[k].row_lo <= spans[k].row_hi <= spans[k].hi <= spans[k].end
            fits = fits and n_rungs_of(&spans[k]) <= self.n_rungs and self.holds(&spans[k])
        if fits and n_tokens <= self.n_tokens_max and n_rows <= self.n_rows:
            return 0
        with gil:
            raise DecodeError(f"a pass of {n_tokens} tokens and {n_rows} rows does not fit this context "
                              f"({self.n_tokens_max} tokens, {self.n_rows} rows, {self.n_streams} streams)",
                              "open a larger one")

    cdef bint holds(self, const Span *span) noexcept nogil:
        """Whether the cache has what the span leaves to it."""
        cdef int32_t n_cached = 0
        if span.lo == 0 and span.hi == span.end:
            return True
        if self.memory != NULL and 0 <= span.seq < self.n_streams:
            n_cached = llama_memory_seq_pos_max(self.memory, self.home(span.seq)) + 1
        return span.lo <= n_cached and (span.hi == span.end or span.end <= n_cached)

    cdef float *row(self, int32_t number) noexcept nogil:
        return llama_get_logits_ith(self.ptr, self.wanted[number])

    cdef void cut(self, int32_t seq, int32_t n) noexcept nogil:
        if self.memory != NULL:
            llama_memory_seq_rm(self.memory, self.home(seq), n, -1)

    cdef void clear(self) noexcept nogil:
        if self.memory != NULL:
            llama_memory_clear(self.memory, True)

    cdef void copy(self, int32_t source, int32_t seq) noexcept nogil:
        if self.memory != NULL:
            llama_memory_seq_cp(self.memory, self.home(source), self.home(seq), -1, -1)
