/* A call with room: on a thread of its own, whose stack is as large as the call may need. */
#ifndef HOSHIKAGE_STACK_H
#define HOSHIKAGE_STACK_H

#include <stddef.h>

/* Runs body(ctx) on a stack of at least so many bytes, and returns when it is done, which gives the stack back. Only
   what the call touches takes memory. 0, or the errno for which there is no such thread; nothing has run then. */
int stack_call(size_t n_bytes, void (*body)(void *ctx), void *ctx);

#endif
