#include "stack.h"

#include <pthread.h>

typedef struct call {
    void (*body)(void *ctx);
    void *ctx;
} call;

static void *call_run(void *data) {
    const call *c = data;
    c->body(c->ctx);
    return NULL;
}

int stack_call(size_t n_bytes, void (*body)(void *ctx), void *ctx) {
    call c = {body, ctx};
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    error = pthread_attr_setstacksize(&attributes, n_bytes);
    if (error == 0)
        error = pthread_create(&thread, &attributes, call_run, &c);
    pthread_attr_destroy(&attributes);
    return error != 0 ? error : pthread_join(thread, NULL);
}
