/* A small persistent pool: rows spread over threads. Threads are started on the first call that wants them, sleep
   while there is no work, are joined when the library is unloaded, and are started anew in a forked child. */
#ifndef HOSHIKAGE_THREADS_H
#define HOSHIKAGE_THREADS_H

#include <stdint.h>

/* Run body(ctx, i) for every i in [0, n), on at most n_threads threads (the caller is one of them), and return when
   all are done. Any number of threads may call at once, a body included. */
void pool_run(void (*body)(void *ctx, int32_t i), void *ctx, int32_t n, int32_t n_threads);

#endif
