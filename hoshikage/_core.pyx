"""The loop: forward pass, read the rows, settle some, again; for a batch of canvases, without the GIL.

    model = Model("llada.gguf")
    session = Session(model, n_ctx=512, n_seq=4)
    session.add(Canvas(tokens, mask_id=model.mask_id, rule=..., schedule=..., steps=32))
    finished = session.run()

A session belongs to one thread at a time. Rules, schedules, plans and row edits come from
`hoshikage.strategies`; this module knows only their contract (`_canvas.pxd`).
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free, realloc
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from hoshikage._board cimport Board, board_words, job_begins, job_ends
from hoshikage._canvas cimport FAULT_FORBIDDEN, FAULT_UNREADABLE
from hoshikage._canvas cimport Canvas, Form, Forward, Job, Row, RowEdit, Span
from hoshikage._csrc cimport SCAN_INVALID, isa_choose, isa_name, pool_run
from hoshikage._rows cimport fill_jobs, read_job
from hoshikage._running cimport Running
from hoshikage._step cimport Turn, fill_spans, find_step, settle_rows

import os
from contextlib import contextmanager

from hoshikage._canvas import Plan, Rule, Schedule
from hoshikage._model import Model
from hoshikage._raw import logits_of_span, logits_of_table
from hoshikage.errors import Cancelled, ContextOverflowError, ParameterError

__all__ = [
    "Board", "Canvas", "Form", "Forward", "Model", "Plan", "RowEdit", "Rule", "Schedule", "Session", "instruction_set",
]


# A pass of so many rows makes full use of the machine; together, more of them only look past each other in the cache.
cdef enum:
    ROWS_TOGETHER = 256


def instruction_set():
    """The instruction set that the scan was built of: avx512, avx2, neon or scalar."""
    return isa_name().decode()


cdef double seconds_since(timespec *start) noexcept nogil:
    """The time since `start`, which becomes now."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    cdef double seconds = (now.tv_sec - start.tv_sec) + 1e-9 * (now.tv_nsec - start.tv_nsec)
    start[0] = now
    return seconds


cdef class Session(Running):
    """A batch of canvases on one context.

    `model` opens the context with whatever else is given here (`n_ctx`, `n_seq`, `n_rows`, `n_tokens`,
    `flash_attn`, `type_k`, `type_v`, `n_threads_batch`). Canvases may join and leave between steps.
    """

    def __init__(self, model, *, int n_threads=0, **context):
        if self.forward is not None:
            raise RuntimeError("a session is opened once")
        self.forward = model.open_context(n_threads=n_threads, **context)
        self.n_threads = self.forward.n_threads
        self._canvases = []
        self._free_streams = list(range(self.forward.n_streams))[::-1]
        self._turns = <Turn *> calloc(self.forward.n_streams, sizeof(Turn))
        self._spans = <Span *> calloc(self.forward.n_streams, sizeof(Span))
        self._jobs = <Job *> calloc(self.forward.n_rows, sizeof(Job))
        self._rows = <Row *> calloc(self.forward.n_rows, sizeof(Row))
        if self._turns == NULL or self._spans == NULL or self._jobs == NULL or self._rows == NULL:
            self.close()
            raise MemoryError

    def __dealloc__(self):
        free_arrays(self)

    def close(self):
        """Give the context's memory back."""
        with self._alone():
            for canvas in list(self._canvases or ()):
                self._release(canvas)
            if self.forward is not None:
                self.forward.close()
            free_arrays(self)

    @property
    def n_ctx(self):
        """Positions that fit, over all streams."""
        self._check_open()
        return self.forward.n_cells

    @property
    def canvases(self):
        """The canvases in work."""
        return tuple(self._canvases or ())

    cdef int _check_open(self) except -1:
        if self._turns == NULL:
            raise RuntimeError("the session is closed")
        return 0

    # -- joining and leaving

    def add(self, Canvas canvas not None):
        """Take a canvas in; it moves with the next step."""
        with self._alone():
            self._check_open()
            self._check_fits(canvas)
            if canvas.shift and canvas.lo == 0:
                self._take_spare(canvas)
            self._seat(canvas)
            canvas.cached = 0
            canvas.paused = False
            self._canvases.append(canvas)
            self._borrow_canvases()

    def __contains__(self, canvas):
        return any([canvas is other for other in self.canvases])

    def remove(self, Canvas canvas not None):
        """Let a canvas go, finished or not; what it has settled stays readable."""
        with self._alone():
            if canvas not in self:
                raise ParameterError("canvas", "it is not in this session", "remove it where it was added")
            self._release(canvas)
            if canvas._fault == FAULT_UNREADABLE:
                self._start_over()

    cdef _take_spare(self, Canvas canvas):
        # Positions 0 and 1 both read row 0, and a row is edited in place: position 0 gets a copy.
        cdef float *spare = <float *> realloc(canvas.spare, self.forward.n_vocab * sizeof(float))
        if spare == NULL:
            raise MemoryError
        canvas.spare = spare

    cdef _release(self, Canvas canvas):
        self._canvases = [other for other in self._canvases if other is not canvas]
        self._unseat(canvas)
        self._borrow_canvases()

    cdef _seat(self, Canvas canvas):
        canvas.seq = self._free_streams.pop()
        canvas.unguided_seq = self._free_streams.pop() if canvas._unguided != NULL else -1

    cdef _unseat(self, Canvas canvas):
        for seq in (canvas.seq, canvas.unguided_seq):
            if seq >= 0:
                self.forward.forget(seq)
                self._free_streams.append(seq)
        canvas.seq = canvas.unguided_seq = -1

    cdef _borrow_canvases(self):
        self._n_turns = 0
        for canvas in self._canvases:
            self._turns[self._n_turns].canvas = <void *> canvas
            self._n_turns += 1

    def _check_fits(self, Canvas canvas):
        cdef Canvas other
        cdef Forward forward = self.forward
        if canvas.n_blocks == 0:
            raise ParameterError("canvas", "its making failed", "make a new one")
        if canvas.seq >= 0:
            raise ParameterError("canvas", "it is in a session already", "remove it there first")
        if canvas.done:
            raise ParameterError("canvas", "it is finished", "make a new one")
        if canvas.form is not None and canvas.form.model is not getattr(forward, "model", None):
            raise ParameterError("form", "it was made for another model", "make it for this one")
        if canvas.plan.in_blocks != canvas.in_blocks:
            raise ParameterError("plan", "it is not for this kind of canvas", "leave it out")
        if canvas.largest() >= forward.n_vocab:
            raise ParameterError("tokens", f"id {canvas.largest()} is outside the vocabulary of {forward.n_vocab}",
                                 "use ids that tokenize returned")
        if canvas.plan.caches and not forward.caches or canvas.plan.patches and not forward.patches:
            if forward.caches:
                raise ParameterError("plan", "this context cannot compute a block alone", "use the window plan")
            raise ParameterError("plan", "this context has no cache", "use the full plan, or load with retag=True")
        n_streams = 2 if canvas._unguided != NULL else 1
        if n_streams > len(self._free_streams):
            raise ParameterError("n_seq", f"{n_streams} streams are needed and {len(self._free_streams)} of "
                                          f"{forward.n_streams} are free", "open the session with a larger n_seq")
        n_cells = canvas.n_kept * n_streams + sum(
            [other.n_kept * (2 if other._unguided != NULL else 1) for other in self._canvases])
        if n_cells > forward.n_cells:
            raise ContextOverflowError(n_cells, forward.n_cells)
        if not canvas.in_blocks and canvas.n_kept * n_streams > forward.n_tokens_max:
            raise ParameterError("n_tokens", f"a pass of {canvas.n_kept * n_streams} positions is needed and the "
                                             f"context computes {forward.n_tokens_max}", "open a larger session")
        n_rows = canvas.most_rows * n_streams + sum(
            [other.most_rows * (2 if other._unguided != NULL else 1) for other in self._canvases])
        if n_rows > forward.n_rows:
            raise ParameterError("block_length", f"{n_rows} rows a pass are needed and the context returns "
                                                 f"{forward.n_rows}",
                                 "use shorter blocks, or open the session with a larger n_rows")

    # -- running

    cdef bint _has_work(self) except -1:
        return len(self._canvases or ()) > 0

    cdef void _watch(self, board_words *board) noexcept:
        self.forward.board = board

    cdef list _let_go(self):
        finished = [canvas for canvas in self._canvases if canvas.done or canvas.paused]
        for canvas in finished:
            self._release(canvas)
        if any([(<Canvas> canvas)._fault == FAULT_UNREADABLE for canvas in finished]):
            self._start_over()
        return finished

    cdef _start_over(self):
        """Empty the cache: what is no number there would spoil every pass after it, masked or not.

        Who is left computes all that it sees once more. That pass is a warm one, as old keys and values are gone: so a
        plan that caches may settle other tokens from here on than it does alone.
        """
        canvases, self._canvases = self._canvases, []
        for canvas in canvases:
            self._unseat(canvas)
        self._clear()
        for canvas in canvases:
            self._seat(canvas)
            (<Canvas> canvas).cached = 0
            self._canvases.append(canvas)
        self._borrow_canvases()

    cdef _clear(self):
        self.forward.clear()

    cdef int _one_step(self) except -1 nogil:
        cdef timespec start
        clock_gettime(CLOCK_MONOTONIC, &start)
        try:
            return self._all_passes()
        finally:
            self.step_seconds += seconds_since(&start)

    cdef int _all_passes(self) except -1 nogil:
        """A step of each, in one pass, or in several where whole canvases make it too large to gain by company. Where
        one is spoilt, those behind it have no turn."""
        cdef int32_t lo = 0, hi
        cdef bint finished = False, spoilt = False
        self._plan_step()
        while lo < self._n_turns and not spoilt:    # by numbers that `_start_over` has to take away before the next
            hi = self._end_of_pass(lo)
            spoilt = self._pass(lo, hi)
            finished = self._settle(lo, hi) or finished
            lo = hi
        return finished

    cdef void _plan_step(self) noexcept nogil:
        """What each needs computed. Who is finished is still there when a pass behind its own has failed."""
        cdef int32_t n_spans = 0
        cdef Turn *turn
        for i in range(self._n_turns):
            turn = &self._turns[i]
            turn.n_spans = turn.n_jobs = 0
            if (<Canvas> turn.canvas).done or (<Canvas> turn.canvas).paused:
                continue
            if find_step(<Canvas> turn.canvas, &turn.quota):
                turn.span = n_spans
                turn.n_spans = fill_spans(<Canvas> turn.canvas, &self._spans[n_spans])
                n_spans += turn.n_spans

    cdef int32_t _end_of_pass(self, int32_t lo) noexcept nogil:
        """The turn behind those that are computed together with this one."""
        cdef int32_t i, n, n_rows = 0
        for i in range(lo, self._n_turns):
            n = self._rows_of(&self._turns[i])
            if n_rows > 0 and n_rows + n > min(ROWS_TOGETHER, self.forward.n_tokens_max):
                return i
            n_rows += n
        return self._n_turns

    cdef int32_t _rows_of(self, const Turn *turn) noexcept nogil:
        cdef int32_t k, n_rows = 0
        for k in range(turn.n_spans):
            n_rows += self._spans[turn.span + k].hi - self._spans[turn.span + k].lo
        return n_rows

    cdef int _pass(self, int32_t lo, int32_t hi) except -1 nogil:
        """One forward pass for those of these turns that need one, and the reading of its rows; whether they spoil the
        cache."""
        cdef int32_t i, first = -1, n_spans = 0
        cdef bint spoilt = False
        cdef timespec start
        for i in range(lo, hi):
            if self._turns[i].n_spans > 0:
                first = self._turns[i].span if first < 0 else first
                n_spans += self._turns[i].n_spans
                (<Canvas> self._turns[i].canvas).cached = 0     # unknown, until the pass has succeeded
        if n_spans > 0:
            clock_gettime(CLOCK_MONOTONIC, &start)
            self.forward.run(&self._spans[first], n_spans)
            self._await(&self._spans[first], n_spans)
            self.forward_seconds += seconds_since(&start)
            self.n_passes += 1
            self._note_spans(lo, hi)
            self._read_rows(lo, hi)
            spoilt = self._check_rows(lo, hi)
            if hi - lo < self._n_turns:
                self._make_way(lo, hi)
        return spoilt

    cdef void _await(self, const Span *spans, int32_t n_spans) noexcept nogil:
        """A device hands its rows over with the first that is asked for: only then is the pass over."""
        for i in range(n_spans):
            if spans[i].row_hi > spans[i].row_lo:
                self.forward.row(spans[i].first_row)
                return

    cdef void _note_spans(self, int32_t lo, int32_t hi) noexcept nogil:
        cdef Turn *turn
        for i in range(lo, hi):
            turn = &self._turns[i]
            if turn.n_spans > 0:
                (<Canvas> turn.canvas).computed(&self._spans[turn.span])
                turn.is_read = (<Canvas> turn.canvas).looks(self.forward, &self._spans[turn.span])

    cdef void _read_rows(self, int32_t lo, int32_t hi) noexcept nogil:
        cdef int32_t n_jobs = 0
        cdef Turn *turn
        for i in range(lo, hi):
            turn = &self._turns[i]
            turn.first_job, turn.n_jobs = n_jobs, 0
            if turn.n_spans > 0 and turn.is_read:
                turn.n_jobs = fill_jobs(<Canvas> turn.canvas, self.forward, &self._spans[turn.span],
                                        &self._jobs[n_jobs], &self._rows[n_jobs])
                n_jobs += turn.n_jobs
        pool_run(read_job, self._jobs, n_jobs, self.n_threads)

    cdef bint _check_rows(self, int32_t lo, int32_t hi) noexcept nogil:
        """A canvas with a row that says nothing ends here, and its neighbours go on. But a row that is not made of
        numbers is no one's own: most kernels of attention, flash or not, multiply what is masked, and spoil with it
        the rows of all that share the pass. These end together, and True is returned."""
        cdef bint spoilt = False
        cdef Turn *turn
        for i in range(lo, hi):
            turn = &self._turns[i]
            for k in range(turn.first_job, turn.first_job + turn.n_jobs):
                if self._rows[k].scan.best < 0:
                    spoilt = spoilt or self._rows[k].scan.best == SCAN_INVALID
                    (<Canvas> turn.canvas).fail(
                        FAULT_UNREADABLE if self._rows[k].scan.best == SCAN_INVALID else FAULT_FORBIDDEN,
                        self._rows[k].position)
                    break
        return spoilt

    cdef int _make_way(self, int32_t lo, int32_t hi) except -1 nogil:
        """What no later pass looks at leaves the cache: those behind would have it masked, tile by tile."""
        for i in range(lo, hi):
            if self._turns[i].n_spans > 0 and not (<Canvas> self._turns[i].canvas).plan.caches:
                self.forward.forget((<Canvas> self._turns[i].canvas).seq)
                if self._turns[i].n_spans > 1:
                    self.forward.forget((<Canvas> self._turns[i].canvas).unguided_seq)
        return 0

    cdef bint _settle(self, int32_t lo, int32_t hi) noexcept nogil:
        """Every canvas's rule settles what it wants of its rows; true when a canvas leaves by that."""
        cdef bint finished = False
        cdef Turn *turn
        for i in range(lo, hi):
            turn = &self._turns[i]
            if turn.n_spans > 0 and not turn.is_read:   # its canvas has become longer, which is no step
                continue
            if turn.n_spans > 0 and not (<Canvas> turn.canvas).done:
                settle_rows(<Canvas> turn.canvas, turn, &self._jobs[turn.first_job], &self._rows[turn.first_job])
                if not (<Canvas> turn.canvas).done:
                    (<Canvas> turn.canvas).advance()
            finished = finished or (<Canvas> turn.canvas).done or (<Canvas> turn.canvas).paused
        return finished

    # -- raw logits

    def logits(self, ids, mask=None):
        """Logits of every position: float32 [batch, position, vocabulary].

        `mask` (bool, like `ids`) leaves padding out; a sequence's own positions must be one run, and are
        numbered from its first. Rows of padding are NaN: nothing was computed there.
        """
        self._check_open()
        with self._by_hand():
            return logits_of_table(self.forward, ids, mask)

    def pass_by_hand(self, ids, int32_t lo, int32_t hi, int32_t end, int32_t stream=0, *, int32_t last=0,
                     Board board=None):
        """One pass over the positions [lo, hi) of a canvas that is seen up to `end`: float32 [hi - lo, vocabulary], or
        the `last` rows of it. Raises Cancelled when the board says so.

        The others are as earlier passes left them in the cache; `forget` empties it.
        """
        self._check_open()
        with self._by_hand(board):
            return logits_of_span(self.forward, stream, ids, lo, hi, end, last)

    def forget(self):
        """Empty the cache that passes by hand have filled."""
        cdef int32_t stream
        self._check_open()
        with self._by_hand():
            for stream in range(self.forward.n_streams):
                self.forward.forget(stream)

    @contextmanager
    def _by_hand(self, Board board=None):
        cdef Board watched = board if board is not None else Board()
        with self._alone():
            if self._canvases:
                raise RuntimeError("canvases are in work in this session; read logits in another")
            if watched.words.cancel:
                raise Cancelled("the pass was cancelled")
            job_begins(watched)
            self.forward.board = &watched.words
            try:
                yield
            finally:
                self.forward.board = NULL
                job_ends(watched)


cdef void free_arrays(Session session) noexcept:
    free(session._turns)
    free(session._spans)
    free(session._jobs)
    free(session._rows)
    session._turns, session._spans, session._jobs, session._rows = NULL, NULL, NULL, NULL


# A type that is cimported is not a name of this module by itself.
globals().update(Board=Board, Canvas=Canvas, Form=Form, Forward=Forward, RowEdit=RowEdit)

if isa_choose(os.environ.get("HOSHIKAGE_ISA", "").encode()) != 0:
    raise ImportError(f"HOSHIKAGE_ISA is {os.environ['HOSHIKAGE_ISA']!r}, which this machine does not run; "
                      "use avx512, avx2, neon or scalar, or leave it out")
