"""A canvas's part in a step: whether it needs a pass, what of it, and what is settled of the rows that were read."""

from libc.stdint cimport int32_t

from hoshikage._canvas cimport FAULT_DEAD_END, FAULT_FORM, Canvas, Job, Quota, Row, Span

cdef enum:
    STEPS_AT_ONCE = 1024    # that need no pass, before a cancel is listened for


cdef bint find_step(Canvas canvas, Quota *quota) noexcept nogil:
    """Go on to the next step that needs a pass. Those before it are over here and now: with neighbours each would take
    as long as one of their passes. False where the canvas leaves before one, or where a cancel should be heard first.
    """
    cdef int32_t _
    for _ in range(STEPS_AT_ONCE):
        quota[0] = quota_of(canvas)
        if canvas.moves(quota):
            return True
        canvas.advance()
        if canvas.done or canvas.paused:
            return False
    return False


cdef Quota quota_of(Canvas canvas) noexcept nogil:
    """What a step may settle. A canvas that finds its length by what is settled settles one at least."""
    cdef Quota quota = canvas.schedule.quota(canvas)
    if canvas.growth is not None:
        quota.count = max(quota.count, min(1, canvas.n_masked))
    return quota


cdef int32_t fill_spans(Canvas canvas, Span *spans) noexcept nogil:
    """What the plan wants of a canvas's one or two streams."""
    canvas.plan.span(canvas, spans)
    canvas.add_tail(spans)
    spans[0].seq, spans[0].tokens, spans[0].n = canvas.seq, canvas._tokens, canvas.n
    if canvas._unguided == NULL:
        return 1
    spans[1] = spans[0]
    spans[1].seq, spans[1].tokens = canvas.unguided_seq, canvas._unguided
    return 2


cdef void settle_rows(Canvas canvas, Turn *turn, Job *jobs, Row *rows) noexcept nogil:
    """Settle what the form allows, old keys and values do not spoil, and the rule wants."""
    cdef int32_t n_free, n_rows
    if canvas.chooses_end() and turn.n_jobs > 0:
        turn.n_jobs = canvas.end_block(rows, turn.n_jobs)
        turn.quota = quota_of(canvas)
    n_free = turn.n_jobs
    if canvas.form is not None and n_free > 0:
        n_free = turn.quota.count = canvas.form.follow(canvas, jobs, n_free, turn.quota)
        if n_free <= 0:
            canvas.fail(FAULT_FORM if n_free < 0 else FAULT_DEAD_END, rows[0].position)
            return
    n_rows = withhold_ends(canvas, rows, n_free)
    canvas.rule.settle(canvas, rows, n_rows, turn.quota)
    canvas.only_ends = 0 < canvas.n_masked and (
        n_rows == 0 < n_free or canvas.n_masked == n_free - n_rows)
    if canvas.growth is not None:
        canvas.growth.after(canvas, rows, turn.n_jobs if n_rows == n_free else n_rows)


cdef int32_t withhold_ends(Canvas canvas, Row *rows, int32_t n_rows) noexcept nogil:
    """Take the rows out that would end the text, when old keys and values may have made them so sure of it.

    The others move together; returns how many they are.
    """
    cdef int32_t i, n_left = 0
    if canvas.warm:
        return n_rows
    for i in range(n_rows):
        if not canvas.masked(rows[i].position) or not canvas.ends_with(rows[i].token):
            rows[n_left] = rows[i]
            n_left += 1
    return n_left
