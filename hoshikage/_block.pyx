"""Block diffusion: a model whose blocks see themselves and all before them, and nothing behind.

    session = BlockSession(model, n_ctx=4096, n_seq=4)
    session.add(BlockCanvas(tokens, max_tokens=256, grid=4, mask_id=model.mask_id, rule=..., schedule=..., steps=4))
    finished = session.run()

A pass computes the block that is being settled, and before it the whole blocks that the cache lacks: those of the
prompt, and the one that was settled last, whose keys and values are to be those of its tokens. Each sees nothing of
those behind it, so the cache is exact, and what a canvas has left there serves the next that begins with the same
blocks. Blocks are counted from the first token: the end of a prompt shares its block with the first new tokens.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

from hoshikage._canvas cimport Canvas, Plan, Quota, Row, Span
from hoshikage._core cimport Session

from contextlib import contextmanager

from hoshikage._raw import fill_table, logits_of_span
from hoshikage.checks import Whole
from hoshikage.errors import ParameterError

__all__ = ["BlockCanvas", "BlockSession"]

MOST = 1 << 24      # tokens of a block or an answer
N_RUNGS = 8         # blocks of one pass: it is bounded, for the others wait for it


cdef class Blockwise(Plan):
    """The present block with those before it whose keys and values are not written, or as many of these as fit."""

    def __cinit__(self):
        self.caches = self.in_blocks = True

    cdef int32_t sees(self, Canvas canvas) noexcept nogil:
        return (<BlockCanvas> canvas).present() + (<BlockCanvas> canvas).grid

    cdef void span(self, Canvas canvas, Span *out) noexcept nogil:
        (<BlockCanvas> canvas).fill(out)


cdef class BlockCanvas(Canvas):
    """A prompt and the blocks behind it, settled one after the other.

    `grid` is the length of the model's blocks; positions are settled `sub_block` at a time (0: the whole block), in
    `steps` steps (0: one a token) where the schedule counts them. It is done when one of `stop_ids` is settled and
    nothing before it is masked, or with `max_tokens`. With `shift` a block's first token follows from the row before
    it, which the block before has and which is read when that is computed; the others from the rows before them.
    """

    def __init__(self, prompt, *, int32_t max_tokens, int32_t grid, int32_t sub_block=0, stop_ids=(), int32_t mask_id,
                 int32_t steps=0, **options):
        if self.grid != 0:
            raise RuntimeError("a canvas is made once")
        self.grid = Whole(1, MOST).check("block_length", grid)
        self.max_tokens = Whole(1, MOST).check("max_tokens", max_tokens)
        sub_block = Whole(0, grid).check("sub_block", sub_block) or grid
        if grid % sub_block:
            raise ParameterError("sub_block", f"{sub_block} does not divide the block of {grid}",
                                 f"use a divisor of {grid}")
        tokens = list(prompt)
        if mask_id in tokens:
            raise ParameterError("tokens", "the prompt holds the mask token", "leave it out")
        self.in_blocks = True
        self.n_prompt = len(tokens)
        n = (self.n_prompt + max_tokens + grid - 1) // grid * grid
        self._take_stop_ids(stop_ids)
        super().__init__(tokens + [mask_id] * (n - self.n_prompt), mask_id=mask_id, block_length=sub_block,
                         steps=steps or sub_block, plan=Blockwise(), **options)
        if self._unguided != NULL or self.growth is not None or self.ends is not None:
            self.n_blocks = 0               # no session takes it
            raise ParameterError("canvas", "blocks have their own length, and no second stream for guidance",
                                 "leave out cfg_scale, growth and ends")
        self.settled_to = self.lo
        self.most_rungs = 1

    def __dealloc__(self):
        free(self._stop_ids)

    cdef _take_stop_ids(self, stop_ids):
        ids = sorted({int(token) for token in stop_ids})
        self._stop_ids = <int32_t *> calloc(max(len(ids), 1), sizeof(int32_t))
        if self._stop_ids == NULL:
            raise MemoryError
        for i, token in enumerate(ids):
            self._stop_ids[i] = token
        self._n_stop_ids = len(ids)

    # -- blocks

    cdef _cut_blocks(self, int32_t block_length):
        self.block_length = block_length
        self.most_rows = block_length
        self.n_blocks = self.hi // block_length - self.lo // block_length
        self.block_lo = self.block_hi = self.lo
        self.enter_block(0)

    cdef void enter_block(self, int32_t block) noexcept nogil:
        """Stand at the start of the next (sub-)block; they end where multiples of their length are."""
        self.block = block
        self.last_lo, self.block_lo = self.block_lo, self.block_hi
        self.done = self.block_lo >= self.hi
        self.block_hi = min((self.block_lo // self.block_length + 1) * self.block_length, self.hi)
        self.count_block()
        self.block_step = self.n_block_passes = self.n_after = 0
        self.block_steps = self.n_steps

    cdef bint block_is_over(self) noexcept nogil:
        """Nothing is masked, and where the rule may still edit, it did not or must not any longer."""
        if self.n_masked > 0:
            return False
        return self.n_after >= self.rule.most_edits or (self.n_after > 0 and not self.changed)

    # -- a pass

    cdef bint feeds(self) noexcept nogil:
        """Whether blocks before the present one have to be computed first, in a pass of their own."""
        return self.present() - self.clean > (0 if self.shift else (self.most_rungs - 1) * self.grid)

    cdef int32_t present(self) noexcept nogil:
        """Where the block that is being settled starts."""
        return self.block_lo // self.grid * self.grid

    cdef int32_t fed_to(self) noexcept nogil:
        """How far the keys and values of whole blocks will be written by a pass that feeds."""
        return min(self.present(), self.clean + self.most_rungs * self.grid)

    cdef void fill(self, Span *out) noexcept nogil:
        """What a pass computes."""
        cdef bint feeds = self.feeds()
        # The token behind the blocks that are fed, which only their last row tells.
        self.takes_first = feeds and self.shift and self.fed_to() == self.block_lo and self.masked(self.block_lo)
        out.lo = self.clean
        out.hi = out.end = self.fed_to() if feeds else self.present() + self.grid
        out.rung = self.grid
        out.warm = True
        out.row_lo, out.row_hi = out.hi - self.takes_first, out.hi
        if not feeds:
            self.row_span(&out.row_lo, &out.row_hi)
            out.row_lo = max(out.row_lo, self.present())
            out.row_hi = max(out.row_hi, out.row_lo + 1)

    cdef bint moves(self, Quota *quota) noexcept nogil:
        if not self.feeds():
            return Canvas.moves(self, quota)
        quota.count, quota.share = 1, 1.0       # of the one row that it may read
        return True

    cdef void read_span(self, int32_t *lo, int32_t *hi) noexcept nogil:
        lo[0], hi[0] = self.block_lo, self.block_hi
        if self.feeds():
            hi[0] = self.block_lo + self.takes_first

    cdef void computed(self, const Span *span) noexcept nogil:
        Canvas.computed(self, span)
        if not self.feeds():
            self.clean = self.present()
            self.changed = False
            self.n_after += self.n_masked == 0

    cdef void write(self, Row *row) noexcept nogil:
        Canvas.write(self, row)
        self.changed = True

    cdef void advance(self) noexcept nogil:
        """A pass is over. Only what may have settled something is a step: the noise knows nothing of the cache."""
        cdef bint fed = self.feeds()
        if fed:
            self.clean = self.fed_to()
            if not self.takes_first:
                return
        self.step += 1
        self.block_step += not fed
        if self.block_is_over():
            if not fed and not self.changed and not self.shift and self.block_hi % self.grid == 0:
                self.clean = self.block_hi      # the last pass was made of the tokens that stand there
            self.enter_block(self.block + 1)
        self.look_for_end()
        self.pause()

    cdef void look_for_end(self) noexcept nogil:
        """Done, when an end is settled for good, or as much as was asked for."""
        cdef int32_t end = self.block_lo if self.rule.remasks and not self.done else self.n
        end = min(end, self.n_prompt + self.max_tokens)
        while self.settled_to < end and not self.masked(self.settled_to):
            if self.stops(self._tokens[self.settled_to]):
                self.done = True
                return
            self.settled_to += 1
        self.done = self.done or self.settled_to == self.n_prompt + self.max_tokens

    cdef bint stops(self, int32_t token) noexcept nogil:
        cdef int32_t i
        for i in range(self._n_stop_ids):
            if self._stop_ids[i] == token:
                return True
        return False

    cdef int32_t most_clean(self) noexcept nogil:
        """How much of the cache can serve it; a row that is still to be read was not kept."""
        cdef int32_t n = self.present()
        if self.shift and n == self.block_lo > 0 and self.masked(n):
            n -= self.grid
        return n


cdef class BlockSession(Session):
    """A batch of block canvases on one context. What those that left have computed serves those that come."""

    def __init__(self, model, **options):
        super().__init__(model, n_rungs=N_RUNGS, **options)
        self._kept = [[] for _ in range(self.forward.n_streams)]
        self._grids = [0] * self.forward.n_streams
        self._left_at = [0] * self.forward.n_streams

    cdef _seat(self, Canvas canvas):
        """A stream with what is cached of the canvas's first blocks: its own, or a copy, which shares the cells."""
        cdef BlockCanvas one = canvas
        cdef int32_t seq, source, n
        source, n = self._longest_match(one)
        seq = source if source in self._free_streams and n == len(self._kept[source]) else self._oldest_free()
        if seq != source:
            self.forward.forget(seq)
            if n > 0:
                self.forward.copy(source, seq)
        self.forward.cut(seq, n)
        self._kept[seq] = []
        self._free_streams.remove(seq)
        one.seq, one.clean, one.most_rungs = seq, n, self.forward.n_rungs
        if one.step == 0:
            one.n_reused = n
        self._make_room(one)

    cdef _unseat(self, Canvas canvas):
        """Keep the whole blocks that it has computed."""
        cdef BlockCanvas one = canvas
        self._clock += 1
        self.forward.cut(one.seq, one.clean)
        self._kept[one.seq], self._grids[one.seq] = one.tokens[:one.clean], one.grid
        self._left_at[one.seq] = self._clock if one.clean > 0 else 0
        self._free_streams.append(one.seq)
        one.seq = -1

    cdef _clear(self):
        for seq in self._free_streams:
            self._drop(seq)
        self.forward.clear()

    cdef tuple _longest_match(self, BlockCanvas canvas):
        """The stream that holds most of a canvas's first blocks, and how many tokens they are."""
        cdef BlockCanvas other
        cdef int32_t source = self._oldest_free(), most = 0, n
        tokens = canvas.tokens[:canvas.most_clean()]
        held = [(seq, self._kept[seq]) for seq in self._free_streams if self._grids[seq] == canvas.grid]
        held += [(other.seq, other.tokens[:other.clean]) for other in self._canvases if other.grid == canvas.grid]
        for seq, kept in held:
            n = common(tokens, kept) // canvas.grid * canvas.grid
            if n > most:
                source, most = seq, n
        return source, most

    cdef int32_t _oldest_free(self):
        return min(self._free_streams, key=self._left_at.__getitem__)

    def _make_room(self, BlockCanvas newcomer):
        """What the canvases may come to take is kept for them, at the expense of what was left longest ago."""
        cdef Canvas canvas
        n_taken = newcomer.n_kept + sum([canvas.n_kept for canvas in self._canvases])
        for seq in sorted(self._free_streams, key=self._left_at.__getitem__):
            if n_taken + sum([len(kept) for kept in self._kept]) <= self.forward.n_cells:
                return
            self._drop(seq)

    cdef _drop(self, int32_t seq):
        self.forward.forget(seq)
        self._kept[seq] = []
        self._left_at[seq] = 0

    @contextmanager
    def _by_hand(self):
        with Session._by_hand(self):
            for seq in self._free_streams:
                self._drop(seq)
            yield

    def logits(self, ids, mask=None):
        """Logits of every position, block by block from a sequence's first token; float32 [batch, n, vocabulary]."""
        self._check_open()
        with self._by_hand():
            return fill_table(self.forward, ids, mask, self._compute_by_blocks)

    def _compute_by_blocks(self, row, out):
        grid = self.forward.model.block_length
        for lo in range(0, len(row), grid):
            hi = min(lo + grid, len(row))
            out[lo:hi] = logits_of_span(self.forward, 0, row, lo, hi, hi)


cdef int32_t common(list left, list right):
    """How many of the first tokens are the same."""
    cdef int32_t n = 0
    for a, b in zip(left, right):
        if a != b:
            break
        n += 1
    return n
