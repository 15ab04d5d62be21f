# cython: auto_pickle=False
"""A canvas (all tokens of one request) and the seams that act on it, with their default bodies.

A canvas is decoded block by block. In every step of a block its plan says what to recompute, its row
edits change the rows, its rule scores and settles some, its schedule says how many. The papers'
versions are in `hoshikage.strategies`; the loop that drives them is in `hoshikage._core`.
"""

from libc.math cimport exp
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memmove

from hoshikage._csrc cimport NOISE_ALG, noise_gumbel, noise_key
from hoshikage._tops cimport Tops

import math

from hoshikage.errors import ParameterError, fault_named


cdef class Plan:
    """What to recompute. This one, the exact one: the whole canvas, and the rows of the block."""

    cdef int32_t sees(self, Canvas canvas) noexcept nogil:
        """The end of what a pass of the present block looks at."""
        return canvas.n

    cdef void span(self, Canvas canvas, Span *out) noexcept nogil:
        out.lo = 0
        out.hi = out.end = canvas.n
        out.warm = True
        canvas.row_span(&out.row_lo, &out.row_hi)


cdef class RowEdit:
    """What changes a row before it is read: guidance, bias, penalties."""

    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil:
        pass


cdef class Schedule:
    """How many rows a step may settle. This one: all of the block at once."""

    cdef Quota quota(self, Canvas canvas) noexcept nogil:
        cdef Quota all_of_it
        all_of_it.count = canvas.n_masked
        all_of_it.share = 1.0
        return all_of_it


cdef class Form:
    """What a text has to follow. It speaks of the first masked place, and of those behind it one after the other; so
    the rule has to settle them in that order."""

    cdef int32_t follow(self, Canvas canvas, Job *jobs, int32_t n_jobs, Quota quota) noexcept nogil:
        """How many of these rows come to stand: those that the rule takes, as far as the text may go on with them. The
        first gets another token where its own may not stand; 0: none may. -1: no answer was to be had."""
        return min(n_jobs, quota.count)


cdef class Ends:
    """Where a block ends, when its length is not given: known after its first pass, which reads `longest` positions."""

    cdef int32_t end(self, Canvas canvas, const Row *rows, int32_t n_rows) noexcept nogil:
        return canvas.block_hi


cdef class Growth:
    """How long one canvas is. A body that changes it keeps to `most`; nothing of the canvas is cached after that.

    `looks` sees each pass before its rows are edited, and says whether the step may settle something. `after` comes
    when it has; the rows are those it was settled from.
    """

    cdef int join(self, Canvas canvas) except -1:
        """Belong to a canvas from now on."""
        if self.taken:
            raise ParameterError("growth", "it belongs to another canvas", "make one for each")
        self.taken = True

    cdef bint looks(self, Canvas canvas, Forward forward, const Span *span) noexcept nogil:
        return True

    cdef void after(self, Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil:
        pass


cdef class Rule:
    """How sure a row is, and which rows are settled. This one: the probability of its token; the surest first."""

    def __init__(self, *, double order_temperature=0.0):
        if not (order_temperature >= 0.0 and math.isfinite(order_temperature)):
            raise ParameterError("alg_temp", f"{order_temperature} is not a temperature", "use 0 or a positive number")
        self.order_temperature = max(order_temperature, 1e-100) if order_temperature else 0.0  # scores / it are finite

    cdef double score(self, Canvas canvas, Row *row) noexcept nogil:
        return row_probability(row)

    cdef bint wants(self, Canvas canvas, Quota quota) noexcept nogil:
        """Whether this step can change anything; when it cannot, no forward pass is spent on it."""
        return quota.count > 0

    cdef bint takes(self, const Row *row, int32_t n_before, Quota quota) noexcept nogil:
        """Of a rule that settles in order: whether it takes this row, when it has taken so many before it."""
        return n_before < quota.count

    cdef bint rewrites(self, Canvas canvas, const Row *row) noexcept nogil:
        """Whether the likeliest token takes the place of the one that stands there, once the step is settled."""
        return False

    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil:
        cdef int32_t i
        if quota.count < n_rows:
            if self.order_temperature > 0.0:
                # The k largest of score/T + Gumbel noise are a draw of k without replacement from softmax(score/T).
                for i in range(n_rows):
                    rows[i].score = rows[i].score / self.order_temperature + noise_gumbel(
                        canvas.noise(rows[i].position), NOISE_ALG)
            sort_rows(rows, n_rows)
        for i in range(min(quota.count, n_rows)):
            canvas.write(&rows[i])


cdef class Forward:
    """Something that turns canvases into rows of logits: a llama.cpp context, or a hash in the tests."""

    def __cinit__(self):
        self.n_rungs = self.n_threads = 1

    cdef int run(self, Span *spans, int32_t n_spans) except -1 nogil:
        with gil:
            raise NotImplementedError

    cdef float *row(self, int32_t number) noexcept nogil:
        return NULL

    cdef void forget(self, int32_t seq) noexcept nogil:
        self.cut(seq, 0)

    cdef void cut(self, int32_t seq, int32_t n) noexcept nogil:
        """Leave the first `n` positions of a stream in the cache."""

    cdef void copy(self, int32_t source, int32_t seq) noexcept nogil:
        """Let a stream that holds nothing hold what another one does."""

    cdef void clear(self) noexcept nogil:
        """Forget all streams, and what numbers their passes have left."""


cdef int row_order(const void *left, const void *right) noexcept nogil:
    """qsort's comparison: surest first, ties to the earlier position."""
    cdef const Row *a = <const Row *> left
    cdef const Row *b = <const Row *> right
    if a.score != b.score:
        return -1 if a.score > b.score else 1
    return -1 if a.position < b.position else 1


cdef void sort_rows(Row *rows, int32_t n_rows) noexcept nogil:
    """Surest first."""
    qsort(rows, n_rows, sizeof(Row), row_order)


cdef double row_probability(const Row *row) noexcept nogil:
    """The probability of the row's token in the distribution that was scanned."""
    return exp(<double> row.logit - <double> row.scan.best_logit - <double> row.scan.excess)


def _checked(str name, value, *, least, most=None):
    """`value`, when it is a number within the bounds; NaN never is."""
    if not (value >= least and (most is None or value <= most) and math.isfinite(value)):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ParameterError(name, f"{value} is out of range", f"use a number {bounds}")
    return value


cdef class Canvas:
    """The tokens of one request, the ones still masked among them, and how they are to be settled.

    `tokens` holds the given text and `mask_id` wherever a token is wanted: behind a prompt, or anywhere
    between fixed text. `steps` are spread over the blocks of `block_length` positions (0: one block).

    With a `share`, its session keeps room for what lies before the first mask and so many positions behind it, as far
    as its plan looks no further in the first block. When a block comes that needs more it leaves the session, `paused`,
    and goes on where it is added again, with a share twice as large. That is between blocks, so that it costs no pass.
    """

    def __cinit__(self):
        self.seq = self.unguided_seq = -1

    def __init__(self, tokens, *, int32_t mask_id, Rule rule not None, Schedule schedule not None, edits=(),
                 Plan plan=None, int32_t steps, int32_t block_length=0, seed=0, double temperature=0.0, int32_t top_k=0,
                 double top_p=1.0, bint shift=False, bint eos_last=False, int32_t eos_id=-1, int32_t eot_id=-1,
                 int32_t n_top=0, Ends ends=None, Growth growth=None, Form form=None, share=None):
        if self._tokens != NULL:
            raise RuntimeError("a canvas is made once")
        self.mask_id, self.eos_id, self.eot_id = mask_id, eos_id, eot_id
        self.rule, self.schedule, self.plan = rule, schedule, plan if plan is not None else Plan()
        self.shift, self.eos_last, self.ends, self.growth, self.form = shift, eos_last, ends, growth, form
        if form is not None and form.taken:
            raise ParameterError("form", "another canvas follows it", "make one for each")
        if form is not None and not rule.in_order:
            raise ParameterError("algorithm", "it settles in any order, and a form is followed from left to right",
                                 "use in_order or sequential")
        self.n_steps = _checked("steps", steps, least=1)
        self.temperature = _checked("temperature", temperature, least=0.0, most=1e6)
        self.top_p = _checked("top_p", top_p, least=0.0, most=1.0)
        self.top_k = _checked("top_k", top_k, least=0)
        self.seed = seed & 0xFFFFFFFFFFFFFFFF
        self._take_tokens(tokens)
        if growth is not None:
            growth.join(self)
        self._take_edits(edits)
        self._take_tops(n_top)
        self._cut_blocks(_checked("block_length", block_length, least=0))
        self._keep(0 if share is None else _checked("share", share, least=1, most=1 << 30))
        if form is not None:
            form.taken = True

    def __dealloc__(self):
        free(self._tokens)
        free(self._unguided)
        free(self._distinct)
        free(self._settled_at)
        free(self._confidence)
        free(self.spare)

    cdef _take_tokens(self, tokens):
        ids = [int(token) for token in tokens]
        if self._tokens != NULL:  # made meanwhile, by that iteration
            raise RuntimeError("a canvas is made once")
        if any(token < 0 or token > 0x7FFFFFFF for token in ids):
            raise ParameterError("tokens", "a token id is negative or too large", "use ids of the model's vocabulary")
        if self.mask_id not in ids:
            raise ParameterError("tokens", "nothing is masked, so there is nothing to generate",
                                 "ask for at least one token")
        self.n = len(ids)
        self.n_most = self.n + (self.growth.most if self.growth is not None else 0)
        self._tokens = <int32_t *> calloc(self.n_most, sizeof(int32_t))
        self._settled_at = <int32_t *> calloc(self.n_most, sizeof(int32_t))
        self._confidence = <float *> calloc(self.n_most, sizeof(float))
        if self._tokens == NULL or self._settled_at == NULL or self._confidence == NULL:
            raise MemoryError
        for i, token in enumerate(ids):
            self._tokens[i] = token
            self._settled_at[i] = STEP_NONE if token == self.mask_id else STEP_GIVEN
            self._confidence[i] = 0.0 if token == self.mask_id else 1.0
        self.lo = ids.index(self.mask_id)
        self.hi = self.n - ids[::-1].index(self.mask_id)
        self.given_end = max([i + 1 for i, token in enumerate(ids) if token != self.mask_id], default=0)

    cdef _take_edits(self, edits):
        cdef RowEdit edit
        self.edits = tuple(edits)
        if len(self.edits) > sizeof(self._edits) // sizeof(void *):
            raise ParameterError("edits", f"{len(self.edits)} row edits are too many", "combine some of them")
        for edit in self.edits:
            if edit is None:
                raise TypeError("a row edit is None")
            self._edits[self._n_edits] = <void *> edit
            self._n_edits += 1
            if edit.unguided and self._unguided == NULL:
                self._take_unguided()
            if edit.counts_once and self._distinct == NULL:
                self._take_distinct()

    cdef _take_unguided(self):
        # The second stream of guidance: every given position masked, the rest kept equal by `write`.
        cdef int32_t i
        self._unguided = <int32_t *> calloc(self.n_most, sizeof(int32_t))
        if self._unguided == NULL:
            raise MemoryError
        for i in range(self.n):
            self._unguided[i] = self.mask_id

    cdef _take_distinct(self):
        self._distinct = <int32_t *> calloc(self.n_most, sizeof(int32_t))
        if self._distinct == NULL:
            raise MemoryError

    cdef _take_tops(self, int32_t n_top):
        if n_top != 0:
            self.tops = Tops(n_top)
            self.tops.resize(self.n_most)
            self.n_top = n_top

    cdef _cut_blocks(self, int32_t block_length):
        cdef int32_t length = self.hi - self.lo, most = length + self.n_most - self.n
        self.block_length = most if block_length == 0 else min(block_length, most)
        self.n_blocks = (most + self.block_length - 1) // self.block_length
        if self.ends is not None:
            self.block_length = min(max(self.ends.longest, 1), length)
        self.most_rows = min(self.block_length + (self.growth.n_tail if self.growth is not None else 0), self.n_most)
        self.block_lo = self.block_hi = self.lo
        self.enter_block(0)

    cdef _keep(self, int32_t share):
        # What changes its length changes it in any block.
        self.n_kept = self.n_most
        if share > 0 and self.growth is None:
            self.n_kept = min(max(self.lo + share, self.plan.sees(self)), self.n_most)

    cdef void pause(self) noexcept nogil:
        """Leave the session if it keeps no room for the present block, and ask for more."""
        self.paused = not self.done and self.plan.sees(self) > self.n_kept
        if self.paused:
            self.n_kept = min(max(2 * self.n_kept - self.lo, self.plan.sees(self)), self.n_most)

    cdef void enter_block(self, int32_t block) noexcept nogil:
        """Stand at the start of the first block behind this one that has something masked; `done` if none has."""
        self.last_lo = self.block_lo
        self.n_masked = 0
        while self.n_masked == 0 and self.block_hi < self.hi:
            self.block = block
            self.block_lo = self.block_hi
            self.block_hi = min(self.block_lo + self.block_length, self.hi)
            self.count_block()
            block += 1
        self.done = self.n_masked == 0
        self.block_step = self.n_block_passes = 0
        self.block_steps = max(1, self.n_steps // self.n_blocks + (self.block < self.n_steps % self.n_blocks))

    cdef void count_block(self) noexcept nogil:
        cdef int32_t i
        self.n_masked = 0
        for i in range(self.block_lo, self.block_hi):
            self.n_masked += self.masked(i)
        self.n_block = self.n_masked

    cdef bint chooses_end(self) noexcept nogil:
        """Whether the pass that was made tells where the block ends."""
        return self.ends is not None and self.n_block_passes == 1

    cdef int32_t end_block(self, const Row *rows, int32_t n_rows) noexcept nogil:
        """End the block where its first rows say; returns how many of them are left in it, one at least."""
        cdef int32_t n = 0
        self.block_hi = min(max(self.ends.end(self, rows, n_rows), rows[0].position + 1), self.block_hi)
        self.count_block()
        while n < n_rows and rows[n].position < self.block_hi:
            n += 1
        return n

    cdef bint moves(self, Quota *quota) noexcept nogil:
        """Whether the coming step needs a pass."""
        return self.rule.wants(self, quota[0])

    cdef void read_span(self, int32_t *lo, int32_t *hi) noexcept nogil:
        """The positions that are read of a pass."""
        lo[0], hi[0] = self.block_lo, self.block_hi

    cdef void advance(self) noexcept nogil:
        """One step is over. A block that withheld something takes as many steps more as it needs."""
        self.step += 1
        self.block_step += 1
        if self.n_masked == 0 and (self.schedule.open or self.block_step >= self.block_steps):
            self.enter_block(self.block + 1)
            self.pause()

    cdef void fail(self, int32_t fault, int32_t position) noexcept nogil:
        """End it here: it cannot go on at this position."""
        self._fault, self._fault_at = fault, position
        self.done = True

    cdef bint looks(self, Forward forward, const Span *span) noexcept nogil:
        """Whether this step may settle something, now that its pass can be seen."""
        return self.growth is None or self.growth.looks(self, forward, span)

    cdef void computed(self, const Span *span) noexcept nogil:
        """A pass over `span` has succeeded."""
        self.n_passes += 1
        self.n_rows += (span.hi - span.lo) * (1 + (self._unguided != NULL))
        self.cached = span.end
        self.warm = span.warm
        self.n_warm += span.warm
        self.n_since_warm = 1 if span.warm else self.n_since_warm + 1
        self.n_block_passes += 1

    cdef bint ends_with(self, int32_t token) noexcept nogil:
        """Whether this token would be the end of the text."""
        return token == self.eos_id or token == self.eot_id

    cdef void write(self, Row *row) noexcept nogil:
        """Settle a row: its token stands for good."""
        self._tokens[row.position] = row.token
        if self._unguided != NULL:
            self._unguided[row.position] = row.token
        self._settled_at[row.position] = self.step
        self._confidence[row.position] = <float> row_probability(row)
        self.n_masked -= 1

    cdef void erase(self, int32_t position) noexcept nogil:
        """Mask a settled position again."""
        self._tokens[position] = self.mask_id
        if self._unguided != NULL:
            self._unguided[position] = self.mask_id
        self._settled_at[position] = STEP_NONE
        self._confidence[position] = 0.0
        self.n_masked += 1

    cdef void insert(self, int32_t at, int32_t n) noexcept nogil:
        """Open `n` masked positions before the position `at`, which is in the block or behind it."""
        cdef int32_t i
        self.move(at, n)
        for i in range(at, at + n):
            self._settled_at[i] = STEP_GIVEN
            self.erase(i)
        self.refit(n)

    cdef void drop(self, int32_t at) noexcept nogil:
        """Take a position out."""
        self.move(at + 1, -1)
        self.refit(-1)

    cdef void move(self, int32_t at, int32_t by) noexcept nogil:
        """All from `at` on stands `by` positions further from now on."""
        cdef size_t n = self.n - at
        memmove(&self._tokens[at + by], &self._tokens[at], n * sizeof(int32_t))
        memmove(&self._settled_at[at + by], &self._settled_at[at], n * sizeof(int32_t))
        memmove(&self._confidence[at + by], &self._confidence[at], n * sizeof(float))
        if self._unguided != NULL:
            memmove(&self._unguided[at + by], &self._unguided[at], n * sizeof(int32_t))
        if self.tops is not None:
            self.tops.move(at, by, self.n)
        if self.given_end > at:
            self.given_end += by

    cdef void refit(self, int32_t by) noexcept nogil:
        """The canvas has become longer: so has its masked region. The block has as many positions as it may."""
        cdef int32_t i
        self.n += by
        self.hi += by
        self.block_hi = min(self.block_lo + self.block_length, self.hi)
        self.n_masked = 0
        for i in range(self.block_lo, self.block_hi):
            self.n_masked += self.masked(i)
        self.cached = 0     # positions have moved

    cdef int32_t largest(self) noexcept nogil:
        cdef int32_t i, found = 0
        for i in range(self.n):
            found = max(found, self._tokens[i])
        return found

    cdef bint masked(self, int32_t position) noexcept nogil:
        return self._settled_at[position] == STEP_NONE

    cdef uint64_t noise(self, int32_t position) noexcept nogil:
        """The key of everything that is random about a position in this step."""
        return noise_key(self.seed, self.step, position)

    cdef void row_span(self, int32_t *lo, int32_t *hi) noexcept nogil:
        """The output rows that the block's positions read: all of them, masked or not, so that their number
        stays the same within a block (llama.cpp then keeps its graph). Shifted: position i reads row i - 1, and 0 reads
        row 0."""
        lo[0] = max(self.block_lo - self.shift, 0)
        hi[0] = max(self.block_hi - self.shift, lo[0] + 1)

    cdef void add_tail(self, Span *span) noexcept nogil:
        """The rows at the end of what is seen of the masked region, but the block's, where this pass computes them."""
        cdef int32_t n_tail = self.growth.n_tail if self.growth is not None else 0
        span.tail_hi = max(min(self.hi, span.end) - self.shift, span.row_hi)
        span.tail_lo = max(span.tail_hi - n_tail, span.row_hi)
        if span.tail_hi > span.hi:
            span.tail_lo = span.tail_hi = span.row_hi

    @property
    def error(self):
        """The exception that tells why it could not be finished, or None."""
        name = {FAULT_UNREADABLE: "unreadable", FAULT_FORBIDDEN: "forbidden", FAULT_DEAD_END: "dead end",
                FAULT_FORM: "given up"}.get(self._fault)
        return None if name is None else fault_named(name, f"at position {self._fault_at}")

    @property
    def tokens(self):
        """All tokens, `mask_id` where nothing is settled yet."""
        return [self._tokens[i] for i in range(self.n)]

    @property
    def settled_at(self):
        """The step in which each position was settled; -1 for given text, -2 while masked."""
        return [self._settled_at[i] for i in range(self.n)]

    @property
    def confidence(self):
        """The probability of each token in the step that settled it; 1 for given text, 0 while masked."""
        return [self._confidence[i] for i in range(self.n)]

    def top(self, int32_t position):
        """The `n_top` likeliest tokens with their logprobs, from the step that settled a position (or read it last)."""
        return [] if self.tops is None else self.tops.at(position)

    def settled_prefix(self, int32_t lo):
        """The end of the run of positions from `lo` on that are settled and stay so."""
        cdef int32_t i = _checked("lo", lo, least=0)
        cdef int32_t end = self.block_lo if self.rule.remasks and not self.done else self.n
        while i < end and not self.masked(i):
            i += 1
        return i
