#include "scan.h"

#include "isa.h"
#include "threads.h"

void scan_row(const float *row, int32_t n_vocab, scan_record *out) {
    isa_current()->scan(row, n_vocab, out);
}

int32_t scan_noisy_best(const float *row, int32_t n_vocab, double temperature, uint64_t key) {
    if (temperature > 0.0)
        return isa_current()->noisy_best(row, n_vocab, temperature, key);
    scan_record record;
    scan_row(row, n_vocab, &record);
    return record.best;
}

typedef struct scan_job {
    const float *const *rows;
    scan_record *out;
    int32_t n_vocab;
} scan_job;

static void scan_job_row(void *ctx, int32_t i) {
    const scan_job *job = ctx;
    scan_row(job->rows[i], job->n_vocab, &job->out[i]);
}

void scan_rows(const float *const *rows, int32_t n_rows, int32_t n_vocab, scan_record *out, int32_t n_threads) {
    scan_job job = {rows, out, n_vocab};
    pool_run(scan_job_row, &job, n_rows, n_threads);
}
