/* The pool: every index once, callers at once, calls inside calls, a fork, and (given a library's path) an unload. */
#include "check.h"
#include "threads.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 200 };

static void count(void *ctx, int32_t i) {
    __atomic_fetch_add(&((int32_t *)ctx)[i], 1, __ATOMIC_RELAXED);
}

static void count_check(int32_t n, int32_t n_threads) {
    int32_t counts[N] = {0};
    pool_run(count, counts, n, n_threads);
    for (int32_t i = 0; i < N; i++)
        CHECK(counts[i] == (i < n), "n %d on %d threads: %d was run %d times", n, n_threads, i, counts[i]);
}

static void *caller(void *unused) {
    (void)unused;
    for (int32_t i = 0; i < 300; i++)
        count_check(i % N, 1 + i % 7);
    return NULL;
}

static void nested(void *ctx, int32_t i) {
    count_check(i, 3);
    count(ctx, i);
}

static void fork_check(void) {
#ifndef FORKLESS
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
        count_check(N, 4);
        exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with %d", status);
#endif
}

static int n_tasks(void) {
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks)) != NULL;)
        n += task->d_name[0] != '.';
    closedir(tasks);
    return n;
}

typedef void run_function(void (*body)(void *, int32_t), void *, int32_t, int32_t);

static void unload_check(const char *path) {
    int n_before = n_tasks();
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        CHECK(library != NULL, "%s", dlerror());
        run_function *run;
        *(void **)&run = dlsym(library, "pool_run");
        int32_t counts[N] = {0};
        run(count, counts, N, 5);
        CHECK(n_tasks() == n_before + 4, "%d threads", n_tasks());
        dlclose(library);
        CHECK(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL, "still loaded");
        CHECK(n_tasks() == n_before, "%d threads are left", n_tasks() - n_before);
    }
    fork_check();
}

int main(int argc, char **argv) {
    if (argc > 1) {
        unload_check(argv[1]);
        return 0;
    }
    for (int32_t n_threads = -1; n_threads < 20; n_threads += 3)
        for (int32_t n = 0; n < N; n += 13)
            count_check(n, n_threads);
    pthread_t callers[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&callers[i], NULL, caller, NULL) == 0, "no thread");
    for (int i = 0; i < 4; i++)
        pthread_join(callers[i], NULL);
    int32_t counts[N] = {0};
    pool_run(nested, counts, N, 4);
    for (int32_t i = 0; i < N; i++)
        CHECK(counts[i] == 1, "%d was run %d times", i, counts[i]);
    fork_check();
    return 0;
}
