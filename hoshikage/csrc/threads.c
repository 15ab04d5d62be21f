#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#define MAX_HELPERS 255

/* A call of pool_run, on its caller's stack, in the list while it still has rows to hand out. */
typedef struct job {
    void (*body)(void *ctx, int32_t i);
    void *ctx;
    int32_t n;
    int32_t next;      /* atomic: the next i to hand out */
    int32_t n_helpers; /* pool threads inside; under the lock, like all below */
    int32_t n_wanted;  /* pool threads that may still come */
    struct job *link;
} job;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER; /* a job wants helpers, or the pool ends */
static pthread_cond_t left = PTHREAD_COND_INITIALIZER; /* a helper left its job */
static pthread_t helpers[MAX_HELPERS];
static int32_t n_started;
static job *jobs;
static bool ending;

static void job_work(job *j) {
    for (int32_t i; (i = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < j->n;)
        j->body(j->ctx, i);
}

static job *job_wanting(void) {
    for (job *j = jobs; j != NULL; j = j->link)
        if (j->n_wanted > 0)
            return j;
    return NULL;
}

static void *helper_main(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    while (!ending) {
        job *j = job_wanting();
        if (j == NULL) {
            pthread_cond_wait(&work, &lock);
            continue;
        }
        j->n_wanted--;
        j->n_helpers++;
        pthread_mutex_unlock(&lock);
        job_work(j);
        pthread_mutex_lock(&lock);
        if (--j->n_helpers == 0)
            pthread_cond_broadcast(&left);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void fork_prepare(void) { pthread_mutex_lock(&lock); }
static void fork_parent(void) { pthread_mutex_unlock(&lock); }

/* Only the forking thread lives on in the child: no helpers, and no jobs but those it may itself be inside of. */
static void fork_child(void) {
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work, NULL);
    pthread_cond_init(&left, NULL);
    n_started = 0;
    jobs = NULL;
}

static void fork_watch(void) { pthread_atfork(fork_prepare, fork_parent, fork_child); }

/* Under the lock. Helpers take no signals: those are for the host program's own threads. */
static void helpers_start(int32_t n_wanted) {
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    pthread_once(&watched, fork_watch);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n_started < n_wanted && n_started < MAX_HELPERS && !ending &&
           pthread_create(&helpers[n_started], NULL, helper_main, NULL) == 0)
        n_started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

__attribute__((destructor)) static void helpers_join(void) {
    pthread_mutex_lock(&lock);
    ending = true;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&lock);
    for (int32_t i = 0; i < n_started; i++)
        pthread_join(helpers[i], NULL);
}

static void job_remove(job *j) {
    for (job **at = &jobs; *at != NULL; at = &(*at)->link)
        if (*at == j) {
            *at = j->link;
            return;
        }
}

void pool_run(void (*body)(void *ctx, int32_t i), void *ctx, int32_t n, int32_t n_threads) {
    int32_t n_useful = n_threads < n ? n_threads : n;
    job own = {.body = body, .ctx = ctx, .n = n, .n_wanted = n_useful - 1};
    if (n_useful < 2) {
        job_work(&own);
        return;
    }
    pthread_mutex_lock(&lock);
    if (n_started < own.n_wanted)
        helpers_start(own.n_wanted);
    own.link = jobs;
    jobs = &own;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&lock);

    job_work(&own);

    pthread_mutex_lock(&lock);
    job_remove(&own);
    while (own.n_helpers > 0)
        pthread_cond_wait(&left, &lock);
    pthread_mutex_unlock(&lock);
}
