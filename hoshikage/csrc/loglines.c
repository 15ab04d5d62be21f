#include "loglines.h"

#include <pthread.h>
#include <string.h>

/* A ring of finished lines and the one being written. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[LOGLINES_KEPT][LOGLINES_LENGTH];
static size_t n_finished; /* ever: the ring holds the last LOGLINES_KEPT of them */
static char current[LOGLINES_LENGTH];
static size_t n_current;

static void line_finish(void) {
    if (n_current == 0) return;
    current[n_current] = '\0';
    memcpy(lines[n_finished % LOGLINES_KEPT], current, n_current + 1);
    n_finished++;
    n_current = 0;
}

void loglines_add(const char *text) {
    pthread_mutex_lock(&lock);
    for (; *text; text++) {
        if (*text == '\n') line_finish();
        else if (n_current < LOGLINES_LENGTH - 1) current[n_current++] = *text;
    }
    pthread_mutex_unlock(&lock);
}

size_t loglines_copy(char *out, size_t size) {
    size_t used = 0;
    if (size == 0) return 0;
    pthread_mutex_lock(&lock);
    size_t first = n_finished > LOGLINES_KEPT ? n_finished - LOGLINES_KEPT : 0;
    for (size_t i = first; i < n_finished; i++) {
        const char *line = lines[i % LOGLINES_KEPT];
        size_t length = strlen(line);
        if (used + length + 2 > size) break;
        if (used > 0) out[used++] = '\n';
        memcpy(out + used, line, length);
        used += length;
    }
    pthread_mutex_unlock(&lock);
    out[used] = '\0';
    return used;
}

void loglines_clear(void) {
    pthread_mutex_lock(&lock);
    n_finished = n_current = 0;
    pthread_mutex_unlock(&lock);
}
