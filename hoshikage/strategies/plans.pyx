"""Plans that leave a part of the canvas to the cache: prefix and dual (Fast-dLLM, arXiv 2505.22618), vicinity (dInfer,
arXiv 2510.08666), and a window of masks behind the block in place of all of them (DPad, arXiv 2508.14148).

They are one: between two warm passes only the block is computed, with so much before and behind it.
"""

from hoshikage._canvas cimport Canvas, Plan, Span
from libc.stdint cimport int32_t

from hoshikage.errors import ParameterError

EVERYTHING = 1 << 30    # more than any canvas has


cdef class Local(Plan):
    """Recompute the block, `before` positions in front of it and `behind` after it; what lies farther is cached.

    `window`: masks seen behind the block, the rest of the canvas is not there yet. `warm_up`: so many passes compute
    everything seen; later each block begins with a warm pass, and every `refresh`-th pass of a block is one (0: only
    the first). A warm pass computes everything seen (`whole`), or from the start of the block before on.
    """

    cdef readonly int32_t before, behind, window, warm_up, refresh
    cdef readonly bint whole

    def __init__(self, *, before=None, behind=None, window=None, int32_t warm_up=1, int32_t refresh=0, bint whole=True):
        self.before, self.behind, self.window = [
            checked(name, value) for name, value in (("before", before), ("behind", behind), ("window", window))]
        self.warm_up, self.refresh, self.whole = checked("warm_up", warm_up), checked("refresh", refresh), whole
        self.caches = self.before < EVERYTHING
        self.patches = self.caches and self.behind < EVERYTHING

    cdef int32_t sees(self, Canvas canvas) noexcept nogil:
        # Given text is always seen, whatever is masked before it.
        return max(min(canvas.block_hi + self.window, canvas.hi), canvas.given_end)

    cdef void span(self, Canvas canvas, Span *out) noexcept nogil:
        canvas.row_span(&out.row_lo, &out.row_hi)
        out.end = self.sees(canvas)
        out.warm = self.is_due(canvas)
        if not out.warm:
            out.lo = max(min(out.row_lo, canvas.block_lo - self.before), 0)
            out.hi = min(canvas.block_hi + self.behind, out.end)
        elif self.whole or canvas.n_passes < self.warm_up:
            out.lo, out.hi = 0, out.end
        else:
            # The tokens that the block before ended with were settled after its last pass.
            out.lo, out.hi = min(max(canvas.last_lo - canvas.shift, 0), canvas.cached), out.end
        out.warm = out.warm or (out.lo == 0 and out.hi == out.end)

    cdef bint is_due(self, Canvas canvas) noexcept nogil:
        """Whether the coming pass is a warm one."""
        if canvas.cached == 0 or canvas.n_passes < self.warm_up or canvas.n_block_passes == 0:
            return True
        return canvas.only_ends or 0 < self.refresh <= canvas.n_since_warm


def checked(str name, value):
    """A count of positions or passes; None is all there are."""
    if value is None:
        return EVERYTHING
    if not 0 <= value <= EVERYTHING:
        raise ParameterError(name, f"{value} is out of range", f"use a number from 0 to {EVERYTHING}, or leave it out")
    return value
