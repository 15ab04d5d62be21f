/* The last lines that llama.cpp logged as errors or warnings, kept so that an exception can carry them.
 * Called from any thread. */
#ifndef HOSHIKAGE_LOGLINES_H
#define HOSHIKAGE_LOGLINES_H

#include <stddef.h>

enum { LOGLINES_KEPT = 8, LOGLINES_LENGTH = 512 };

/* Adds text to the present line; a newline ends it. Longer lines are cut. */
void loglines_add(const char *text);
/* Copies the kept lines, oldest first, separated by newlines; returns the length. Always terminated. */
size_t loglines_copy(char *out, size_t size);
void loglines_clear(void);

#endif
