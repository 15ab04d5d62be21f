# cython: auto_pickle=False
"""DAEDAL: the model says itself how long its answer has to be.

At first masks are added until it is sure enough, at the end of the canvas, that the text is over by then. Later a
position that it knows nothing of becomes several, as long as it is not yet sure of the end.

The paper's code counts only positions where the end of the text is the likeliest token, and looks for 32 of them,
however far in front. And behind the first length it writes 16 ends of the text. We write none: they are not the model's
own, and would say in every later pass that the text is over, to a model that is asked whether it is.
"""

from hoshikage._canvas cimport Canvas, Forward, Growth, Row, Span, row_probability
from hoshikage._csrc cimport scan_record, scan_row
from libc.math cimport exp
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError

cdef double ENOUGH = 0.5    # of the end, for a first length
cdef double SURE = 0.9      # of the end, for a canvas that stays as it is
cdef double DOUBT = 0.1     # a position less sure than this becomes several


cdef class Daedal(Growth):
    """Up to `most` positions more, `stride` at a time. It belongs to one canvas.

    How sure the model is of the end is the mean probability of the tokens that end a text, in the `n_tail` last rows
    of the masked region; the last pass that computed these says it.
    """

    cdef readonly int32_t stride, n_added
    cdef readonly double end_sure
    cdef bint begun         # the first length is found

    def __init__(self, int32_t most, *, int32_t stride=8, int32_t n_tail=32):
        if self.taken:      # its canvas has room for what was said before
            raise RuntimeError("a growth is made once")
        if not (0 <= most <= 1 << 24 and 2 <= stride <= 1 << 20 and 1 <= n_tail <= 1 << 20):
            raise ParameterError("grow", f"{most} positions, {stride} at a time by {n_tail} rows, are no growth",
                                 "use positive numbers, and a stride of 2 at least")
        self.most, self.stride, self.n_tail = most, stride, n_tail

    cdef bint looks(self, Canvas canvas, Forward forward, const Span *span) noexcept nogil:
        cdef int32_t end = min(canvas.hi, span.end) - canvas.shift
        if span.tail_hi >= end:
            self.end_sure = mean_end(canvas, forward, span, max(span.tail_hi - self.n_tail, span.row_lo))
        if self.begun or self.end_sure >= ENOUGH or self.n_added == self.most:
            self.begun = True
            return True
        self.add(canvas, canvas.hi, self.stride)
        return False

    cdef void after(self, Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil:
        cdef int32_t i, worst = -1
        cdef double probability, least = DOUBT
        if self.end_sure >= SURE:
            return
        for i in range(n_rows):
            probability = row_probability(&rows[i])
            if canvas.masked(rows[i].position) and not rows[i].stood and (
                    probability < least or (probability == least < DOUBT and rows[i].position < worst)):
                least, worst = probability, rows[i].position
        if worst >= 0:
            self.add(canvas, worst + 1, self.stride - 1)

    cdef void add(self, Canvas canvas, int32_t at, int32_t n) noexcept nogil:
        n = min(n, self.most - self.n_added)
        if n > 0:
            canvas.insert(at, n)
            self.n_added += n


cdef double mean_end(Canvas canvas, Forward forward, const Span *span, int32_t first) noexcept nogil:
    """The mean probability of the end of the text in the rows from `first` to the end of the tail."""
    cdef int32_t position, number
    cdef double total = 0.0
    for position in range(first, span.tail_hi):
        number = span.first_row + position - span.row_lo
        if position >= span.row_hi:
            number = span.first_row + span.row_hi - span.row_lo + position - span.tail_lo
        total += end_probability(canvas, forward.row(number), forward.n_vocab)
    return total / max(span.tail_hi - first, 1)


cdef double end_probability(Canvas canvas, const float *row, int32_t n_vocab) noexcept nogil:
    cdef scan_record scan
    cdef double total = 0.0
    scan_row(row, n_vocab, &scan)
    if scan.best < 0:
        return 0.0
    if 0 <= canvas.eos_id < n_vocab:
        total += exp(<double> row[canvas.eos_id] - <double> scan.best_logit - <double> scan.excess)
    if 0 <= canvas.eot_id < n_vocab and canvas.eot_id != canvas.eos_id:
        total += exp(<double> row[canvas.eot_id] - <double> scan.best_logit - <double> scan.excess)
    return total
