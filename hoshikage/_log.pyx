"""llama.cpp's log: kept for the exceptions that need it, printed only when asked for (HOSHIKAGE_LOG)."""

from libc.stdio cimport fputs, stderr

from hoshikage._llama cimport (
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_WARN, ggml_log_level, llama_backend_init, llama_log_set,
)

import os

cdef extern from "csrc/loglines.h" nogil:
    enum:
        LOGLINES_KEPT
        LOGLINES_LENGTH
    void loglines_add(const char *text)
    size_t loglines_copy(char *out, size_t size)
    void loglines_clear()

LEVELS = {"debug": 1, "info": 2, "warn": 3, "error": 4, "none": 5}

# Written once below; `level_of_line` is that of the line being continued, of interest to one thread at a time.
cdef int printed_from = 5
cdef int level_of_line = 0


cdef void take_line(ggml_log_level level, const char *text, void *_) noexcept nogil:
    global level_of_line
    if level != GGML_LOG_LEVEL_CONT:
        level_of_line = level
    if level_of_line >= GGML_LOG_LEVEL_WARN:
        loglines_add(text)
    if level_of_line >= printed_from:
        fputs(text, stderr)


cdef str last_lines():
    """The last warnings and errors of llama.cpp, for an exception's text."""
    cdef char lines[LOGLINES_KEPT * LOGLINES_LENGTH]
    cdef size_t length = loglines_copy(lines, sizeof(lines))
    return lines[:length].decode("utf-8", "replace")


cdef void forget_lines() noexcept nogil:
    loglines_clear()


def print_from(str level):
    """Print llama.cpp's log lines from `level` (debug, info, warn, error, none) on, to stderr."""
    global printed_from
    if level not in LEVELS:
        raise ValueError(f"HOSHIKAGE_LOG is {level!r}; use one of {', '.join(LEVELS)}")
    printed_from = LEVELS[level]


print_from(os.environ.get("HOSHIKAGE_LOG", "none"))
llama_log_set(take_line, NULL)
llama_backend_init()
