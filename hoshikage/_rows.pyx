"""The rows that are read of a pass, by several threads at once: change one, choose its token, say how sure."""

from libc.stdint cimport int32_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy

from hoshikage._canvas cimport Canvas, Forward, Job, Row, RowEdit, RowView, Span, row_probability
from hoshikage._csrc cimport row_keep, row_scale, scan_noisy_best, scan_record, scan_row

# Times a logit this is still finite; of two logits that differ at all it leaves one.
cdef double COLDEST_FACTOR = 1e30


cdef int32_t fill_jobs(Canvas canvas, Forward forward, const Span *spans, Job *jobs, Row *rows) noexcept nogil:
    """A job for every masked position of the block, and for the settled ones where the rule doubts them."""
    cdef int32_t position, source, lo, hi, n = 0
    canvas.read_span(&lo, &hi)
    gather_distinct(canvas)
    for position in range(lo, hi):
        source = max(position - canvas.shift, 0) - spans[0].row_lo
        if not canvas.masked(position) and not (canvas.rule.remasks and canvas._settled_at[position] >= 0 <= source):
            continue
        rows[n].position, rows[n].stood = position, not canvas.masked(position)
        jobs[n].canvas, jobs[n].row = <void *> canvas, &rows[n]
        jobs[n].view.position, jobs[n].view.n_vocab = position, forward.n_vocab
        jobs[n].view.logits = forward.row(spans[0].first_row + source)
        jobs[n].view.unguided = NULL if canvas._unguided == NULL else forward.row(spans[1].first_row + source)
        if canvas.spare != NULL and position == 0:
            memcpy(canvas.spare, jobs[n].view.logits, forward.n_vocab * sizeof(float))
            jobs[n].view.logits = canvas.spare
        n += 1
    return n


cdef void gather_distinct(Canvas canvas) noexcept nogil:
    """Note which tokens are settled, for edits that ask: a row of a long canvas has no time to look for doubles."""
    cdef int32_t *tokens = canvas._distinct
    cdef int32_t i, n = 0
    if tokens == NULL:
        return
    for i in range(canvas.n):
        if not canvas.masked(i):
            tokens[n] = canvas._tokens[i]
            n += 1
    qsort(tokens, n, sizeof(int32_t), token_order)
    canvas._n_distinct = 0
    for i in range(n):
        if i == 0 or tokens[i] != tokens[canvas._n_distinct - 1]:
            tokens[canvas._n_distinct] = tokens[i]
            canvas._n_distinct += 1


cdef int token_order(const void *left, const void *right) noexcept nogil:
    """qsort's comparison of ids."""
    cdef int32_t a = (<const int32_t *> left)[0], b = (<const int32_t *> right)[0]
    return (a > b) - (a < b)


cdef void read_job(void *jobs, int32_t i) noexcept nogil:
    """The pool's: read the row of one job."""
    cdef Job *job = &(<Job *> jobs)[i]
    read_row(<Canvas> job.canvas, job.row, &job.view)


cdef void read_row(Canvas canvas, Row *row, RowView *view) noexcept nogil:
    """The scan is made of the full distribution, or, for a rule that its paper defines so (Dream's), of the one that
    temperature, top-p and top-k leave. Where a form is to be followed, it is asked before tokens are drawn.
    """
    cdef int32_t i
    for i in range(canvas._n_edits):
        (<RowEdit> canvas._edits[i]).edit(canvas, view)
    if not canvas.masked(row.position):
        reread(canvas, row, view)
        return
    if not (canvas.rule.cut and (cuts(canvas) or canvas.temperature > 0.0)):
        scan_row(view.logits, view.n_vocab, &row.scan)
        if row.scan.best < 0:
            return
        row.token, row.logit = row.scan.best, row.scan.best_logit
        note_tops(canvas, row, view)
    if canvas.rule.cut and (cuts(canvas) or canvas.temperature > 0.0):
        choose_of_cut(canvas, row, view)
    elif canvas.temperature > 0.0 and canvas.form is None:
        draw_token(canvas, row, view)
    judge(canvas, row)


cdef bint cuts(Canvas canvas) noexcept nogil:
    """Whether tokens are left out of the draw."""
    return canvas.top_k > 0 or 0.0 < canvas.top_p < 1.0


cdef void reread(Canvas canvas, Row *row, RowView *view) noexcept nogil:
    """How sure the model is now of a token that stands already."""
    scan_row(view.logits, view.n_vocab, &row.scan)
    row.token = canvas._tokens[row.position]
    row.logit = view.logits[row.token]
    row.score = row_probability(row)
    if canvas.rule.rewrites(canvas, row):
        note_tops(canvas, row, view)


cdef void draw_token(Canvas canvas, Row *row, const RowView *view) noexcept nogil:
    """Draw the token of a row from what is left of it, which it changes; at temperature 0 it is the best one."""
    cdef scan_record left
    if canvas.temperature > 0.0:
        cut(canvas, view)
        row.token = scan_noisy_best(view.logits, view.n_vocab, canvas.temperature, canvas.noise(row.position))
    else:
        scan_row(view.logits, view.n_vocab, &left)
        row.token = left.best
    if row.token >= 0:
        row.logit = view.logits[row.token]


cdef void choose_of_cut(Canvas canvas, Row *row, RowView *view) noexcept nogil:
    """The same for a rule that scores what temperature and the cuts leave."""
    cut(canvas, view)
    if canvas.temperature > 0.0:
        row.token = scan_noisy_best(view.logits, view.n_vocab, canvas.temperature, canvas.noise(row.position))
        row_scale(view.logits, view.n_vocab, <float> min(1.0 / canvas.temperature, COLDEST_FACTOR))
    scan_row(view.logits, view.n_vocab, &row.scan)
    if canvas.temperature <= 0.0:
        row.token = row.scan.best
    if row.token >= 0:
        row.logit = view.logits[row.token]
        note_tops(canvas, row, view)


cdef void cut(Canvas canvas, const RowView *view) noexcept nogil:
    """Forbid what top-k and top-p leave out."""
    cdef double factor = 1.0 / canvas.temperature if canvas.temperature > 0.0 else 1.0
    if cuts(canvas):
        row_keep(view.logits, view.n_vocab, factor, canvas.top_p, canvas.top_k)


cdef void judge(Canvas canvas, Row *row) noexcept nogil:
    """How sure the row is of its token."""
    row.score = canvas.rule.score(canvas, row)
    if canvas.eos_last and (row.token == canvas.eos_id or row.token == canvas.eot_id):
        row.score = -1e300  # the end of the text is settled last, and still before nothing at all


cdef void note_tops(Canvas canvas, const Row *row, const RowView *view) noexcept nogil:
    """Keep what else was likely in the distribution that was scanned; what is kept last is that of the settling."""
    if canvas.n_top > 0:
        canvas.tops.read(row.position, view.logits, view.n_vocab, &row.scan)
