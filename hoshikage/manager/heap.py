"""What the C library does with memory that is no longer used: large pieces go back to the system at once.

By itself it keeps them for later once it has seen some, and for each thread anew: headers of models, which are read on
threads of their own, would add up to tens of megabytes that nobody uses.
"""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of <malloc.h>
LARGE = 1 << 17  # bytes


def return_large_pieces() -> None:
    """From now on, in the whole process; nothing where the C library knows no such thing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGE)
    mallopt(M_ARENA_MAX, 1)
