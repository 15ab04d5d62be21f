# The contract of the decoding core: a canvas, and the seams that act on it. Everything here is
# plain C data and virtual calls without the GIL; a virtual call per row is free, one per logit is not.
#
#   Plan      what to recompute            (once per step)
#   RowEdit   what changes a row           (once per row, before it is read)
#   Form      what may stand there         (once per step, in the order of the text)
#   Rule      how sure, and which          (once per row; once per step)
#   Schedule  how many                     (once per step)
#   Ends      where a block ends           (once per block, after its first pass)
#   Growth    how long the canvas is       (once per pass)
#
# Each has a default body in _canvas.pyx; the papers' own are in strategies/.

from libc.stdint cimport int32_t, uint64_t

from hoshikage._board cimport board_words
from hoshikage._csrc cimport scan_record
from hoshikage._tops cimport Tops


# What `settled_at` says of a position that no step has settled.
cdef enum:
    STEP_GIVEN = -1             # it was there from the start
    STEP_NONE = -2              # it is masked


# Why a canvas cannot go on.
cdef enum:
    FAULT_NONE = 0
    FAULT_UNREADABLE            # a row of logits is not made of numbers
    FAULT_FORBIDDEN             # every token is forbidden in a row
    FAULT_DEAD_END              # its form allows no token
    FAULT_FORM                  # its form gave no answer


cdef struct Row:
    int32_t position        # canvas index
    int32_t token           # what would be written here
    float logit             # its logit in the row that `scan` describes
    scan_record scan
    double score            # how sure: higher is surer
    bint stood              # it was settled already when it was read


cdef struct RowView:
    int32_t position
    int32_t n_vocab
    float *logits           # [n_vocab], edited in place, valid until the next forward pass
    const float *unguided   # [n_vocab] the same row without the prompt, or NULL


cdef struct Job:            # one row to read: what a scoring thread is handed
    void *canvas
    Row *row
    RowView view


cdef struct Quota:
    int32_t count           # settle so many rows
    double share            # or, for a rule that draws, each row with this probability


cdef struct Span:           # one stream's part of a forward pass
    int32_t seq             # sequence number in the context
    const int32_t *tokens   # [n] the whole canvas
    int32_t n
    int32_t lo, hi          # positions to recompute; those before lo are in the cache already,
    int32_t end             # and so are those from hi to end, behind which nothing is seen
    int32_t rung            # so many positions see nothing of those behind them; 0: all see all
    bint warm               # nothing that this pass looks at is older than the plan wants it at its best
    int32_t row_lo, row_hi  # positions whose logits are wanted
    int32_t tail_lo, tail_hi    # positions behind those whose logits are wanted too; most often none
    int32_t first_row       # out: the number of row_lo among the rows of the pass; those of the tail come next


cdef class Canvas


cdef class Plan:
    cdef readonly bint caches           # leaves something before the span to the cache
    cdef readonly bint patches          # and something behind it
    cdef readonly bint in_blocks        # for the canvases of block models alone
    cdef int32_t sees(self, Canvas canvas) noexcept nogil
    cdef void span(self, Canvas canvas, Span *out) noexcept nogil


cdef class RowEdit:
    cdef readonly bint unguided     # needs the stream whose given positions are masked
    cdef readonly bint counts_once  # needs the settled tokens without doubles
    cdef void edit(self, Canvas canvas, RowView *view) noexcept nogil


cdef class Form:
    cdef readonly int32_t n_vocab       # of the tokens that it knows
    cdef object model                   # whose tokens they are
    cdef bint taken                     # a canvas follows it
    cdef int32_t follow(self, Canvas canvas, Job *jobs, int32_t n_jobs, Quota quota) noexcept nogil


cdef class Schedule:
    cdef readonly bint open         # a block takes as many steps as its rule needs, and not a number of its own
    cdef Quota quota(self, Canvas canvas) noexcept nogil


cdef class Ends:
    cdef readonly int32_t longest           # no block has more positions
    cdef int32_t end(self, Canvas canvas, const Row *rows, int32_t n_rows) noexcept nogil


cdef class Growth:
    cdef readonly int32_t most              # positions that it may add to its canvas
    cdef readonly int32_t n_tail            # rows at the end of the masked region that it looks at
    cdef bint taken                         # it belongs to a canvas
    cdef int join(self, Canvas canvas) except -1
    cdef bint looks(self, Canvas canvas, Forward forward, const Span *span) noexcept nogil
    cdef void after(self, Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil


cdef class Rule:
    cdef readonly bint cut                  # scores the distribution after temperature, top-p and top-k (Dream)
    cdef readonly double order_temperature  # above 0: rows are drawn by score, not taken in its order
    cdef readonly bint in_order             # settles the first rows that it is given, and no others
    cdef readonly bint remasks              # reads the block's settled positions again, and may mask them again
    cdef readonly int32_t most_edits        # passes over a block without masks in which it may write others' tokens
    cdef double score(self, Canvas canvas, Row *row) noexcept nogil
    cdef bint wants(self, Canvas canvas, Quota quota) noexcept nogil
    cdef bint takes(self, const Row *row, int32_t n_before, Quota quota) noexcept nogil
    cdef bint rewrites(self, Canvas canvas, const Row *row) noexcept nogil
    cdef void settle(self, Canvas canvas, Row *rows, int32_t n_rows, Quota quota) noexcept nogil


cdef class Forward:
    cdef readonly int32_t n_vocab
    cdef readonly int32_t n_cells       # positions that fit, over all streams
    cdef readonly int32_t n_tokens_max  # of them, those that one pass takes
    cdef readonly int32_t n_streams     # streams that fit
    cdef readonly int32_t n_rows        # rows that one pass may return
    cdef readonly int32_t n_rungs       # that a span may have
    cdef readonly int32_t n_threads     # that compute a pass, and read its rows
    cdef readonly bint caches           # keeps what a span leaves out before it
    cdef readonly bint patches          # and behind it
    cdef board_words *board             # the present job's, or NULL
    cdef int run(self, Span *spans, int32_t n_spans) except -1 nogil
    cdef float *row(self, int32_t number) noexcept nogil
    cdef void forget(self, int32_t seq) noexcept nogil
    cdef void cut(self, int32_t seq, int32_t n) noexcept nogil
    cdef void copy(self, int32_t source, int32_t seq) noexcept nogil
    cdef void clear(self) noexcept nogil


cdef class Canvas:
    # what was asked for
    cdef readonly int32_t n, mask_id, eos_id, eot_id, top_k, block_length, n_steps, n_blocks
    cdef readonly double temperature, top_p
    cdef readonly uint64_t seed
    cdef readonly bint shift, eos_last
    cdef readonly bint in_blocks                    # of a block model
    cdef readonly Rule rule
    cdef readonly Schedule schedule
    cdef readonly Plan plan
    cdef readonly Ends ends                         # None: all blocks are as long
    cdef readonly Growth growth                     # None: it stays as long as it is
    cdef readonly Form form                         # None: any token may stand anywhere
    cdef readonly int32_t n_most                    # positions it may come to have
    cdef readonly int32_t n_kept                    # of them, those that a session keeps room for
    cdef readonly int32_t most_rows                 # that a pass returns for one of its streams
    cdef readonly tuple edits
    cdef readonly int32_t n_top         # alternatives kept of each place; 0: none, and `tops` is None
    cdef readonly Tops tops
    # the canvas; every array has room for `n_most`, of which `n` are in use, and lives as long as this object
    cdef int32_t *_tokens
    cdef int32_t *_unguided         # NULL unless an edit asks for it
    cdef int32_t *_distinct         # NULL unless an edit asks for it: settled tokens, each once, as a step begins
    cdef int32_t _n_distinct
    cdef int32_t *_settled_at
    cdef float *_confidence
    cdef float *spare               # [n_vocab of its session] or NULL: see Session._take_spare
    cdef int32_t seq, unguided_seq  # its streams in the session, -1 outside one
    cdef void *_edits[8]            # borrowed from `edits`, for the loop without the GIL
    cdef int32_t _n_edits
    # where it stands
    cdef readonly int32_t lo, hi                    # first masked position, last + 1
    cdef readonly int32_t block, block_lo, block_hi
    cdef readonly int32_t step, block_step, block_steps
    cdef readonly int32_t n_block, n_masked         # masks of this block at its start, and now
    cdef readonly int32_t n_passes, n_rows          # so far, and the positions computed in them
    cdef readonly bint done
    cdef readonly bint paused                       # it has left its session, which keeps no room for the next block
    cdef int32_t _fault, _fault_at                  # why it ended before it was finished, and at which position
    # what its plan has to know: of this stay in a session
    cdef readonly int32_t cached                    # positions that the context holds of it, from 0 on
    cdef readonly int32_t given_end                 # behind the last given position
    cdef readonly int32_t last_lo                   # where the block before this one starts
    cdef readonly int32_t n_block_passes            # passes of this block
    cdef readonly int32_t n_since_warm              # passes since the last warm one, that one included
    cdef readonly int32_t n_warm                    # warm passes so far
    cdef readonly bint warm                         # the last pass was
    cdef readonly bint only_ends                    # it withheld ends of text, and nothing else is masked

    cdef _take_tokens(self, tokens)
    cdef _take_edits(self, edits)
    cdef _take_unguided(self)
    cdef _take_distinct(self)
    cdef _take_tops(self, int32_t n_top)
    cdef _cut_blocks(self, int32_t block_length)
    cdef _keep(self, int32_t share)
    cdef void pause(self) noexcept nogil
    cdef void enter_block(self, int32_t block) noexcept nogil
    cdef void count_block(self) noexcept nogil
    cdef bint chooses_end(self) noexcept nogil
    cdef int32_t end_block(self, const Row *rows, int32_t n_rows) noexcept nogil
    cdef bint moves(self, Quota *quota) noexcept nogil
    cdef void read_span(self, int32_t *lo, int32_t *hi) noexcept nogil
    cdef void advance(self) noexcept nogil
    cdef void fail(self, int32_t fault, int32_t position) noexcept nogil
    cdef void computed(self, const Span *span) noexcept nogil
    cdef bint looks(self, Forward forward, const Span *span) noexcept nogil
    cdef bint ends_with(self, int32_t token) noexcept nogil
    cdef void write(self, Row *row) noexcept nogil
    cdef void erase(self, int32_t position) noexcept nogil
    cdef void insert(self, int32_t at, int32_t n) noexcept nogil
    cdef void drop(self, int32_t at) noexcept nogil
    cdef void move(self, int32_t at, int32_t by) noexcept nogil
    cdef void refit(self, int32_t by) noexcept nogil
    cdef int32_t largest(self) noexcept nogil
    cdef bint masked(self, int32_t position) noexcept nogil
    cdef uint64_t noise(self, int32_t position) noexcept nogil
    cdef void add_tail(self, Span *span) noexcept nogil
    cdef void row_span(self, int32_t *lo, int32_t *hi) noexcept nogil


cdef double row_probability(const Row *row) noexcept nogil
cdef void sort_rows(Row *rows, int32_t n_rows) noexcept nogil
