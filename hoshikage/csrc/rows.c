#include "scan.h"

#include <math.h>
#include <stdlib.h>

void row_scale(float *row, int32_t n_vocab, float factor) {
    for (int32_t v = 0; v < n_vocab; v++)
        row[v] *= factor;
}

void row_guide(float *cond_inout, const float *uncond, int32_t n_vocab, float scale) {
    float weight = scale + 1.0f;
    for (int32_t v = 0; v < n_vocab; v++) {
        float cond = cond_inout[v], away = uncond[v];
        cond_inout[v] = cond == -INFINITY ? cond : away + weight * (cond - away);
    }
}

typedef struct entry {
    float logit;
    int32_t token;
} entry;

static int entry_compare(const void *left, const void *right) {
    const entry *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit < b->logit ? 1 : -1;
    return a->token < b->token ? -1 : 1;
}

void row_keep(float *row, int32_t n_vocab, double inv_temperature, double top_p, int32_t top_k, double min_p_unused) {
    (void)min_p_unused;
    scan_record record;
    scan_row(row, n_vocab, &record);
    entry *order = record.best < 0 ? NULL : malloc((size_t)n_vocab * sizeof *order);
    if (order == NULL)
        return;
    for (int32_t v = 0; v < n_vocab; v++)
        order[v] = (entry){row[v], v};
    qsort(order, (size_t)n_vocab, sizeof *order, entry_compare);
    float kth = top_k >= 1 && top_k < n_vocab ? order[top_k - 1].logit : -INFINITY;
    int32_t n_kept = n_vocab;
    if (top_p > 0.0 && top_p < 1.0) {
        double total = 0.0, sum = 0.0;
        for (int32_t i = n_vocab - 1; i >= 0; i--)
            total += exp(((double)order[i].logit - (double)record.best_logit) * inv_temperature);
        for (n_kept = 0; n_kept < n_vocab && fma(top_p, total, -sum) >= 0.0; n_kept++)
            sum += exp(((double)order[n_kept].logit - (double)record.best_logit) * inv_temperature);
    }
    for (int32_t i = 0; i < n_vocab; i++)
        if (i >= n_kept || order[i].logit < kth)
            row[order[i].token] = -INFINITY;
    free(order);
}
