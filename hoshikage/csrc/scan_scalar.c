#include "isa.h"
#include "noise.h"

#include <math.h>

static void record_refuse(scan_record *out, int32_t why) {
    *out = (scan_record){why, -INFINITY, -INFINITY, NAN, NAN};
}

static void scan_scalar(const float *row, int32_t n_vocab, scan_record *out) {
    int32_t best = SCAN_EMPTY;
    float best_logit = -INFINITY, second_logit = -INFINITY;
    for (int32_t v = 0; v < n_vocab; v++) {
        if (isnan(row[v]) || row[v] == INFINITY) {
            record_refuse(out, SCAN_INVALID);
            return;
        }
        if (row[v] > best_logit) {
            second_logit = best_logit;
            best_logit = row[v];
            best = v;
        } else if (row[v] > second_logit) {
            second_logit = row[v];
        }
    }
    if (best < 0) {
        record_refuse(out, best);
        return;
    }
    double sum = 0.0, moment = 0.0;
    for (int32_t v = 0; v < n_vocab; v++) {
        if (v == best || row[v] == -INFINITY)
            continue;
        double gap = (double)row[v] - (double)best_logit;
        sum += exp(gap);
        moment += exp(gap) * gap;
    }
    *out = (scan_record){best, best_logit, second_logit, (float)log1p(sum), (float)(log1p(sum) - moment / (1.0 + sum))};
}

static int32_t noisy_best_scalar(const float *row, int32_t n_vocab, double temperature, uint64_t key) {
    int32_t best = SCAN_EMPTY;
    double best_value = -INFINITY;
    for (int32_t v = 0; v < n_vocab; v++) {
        if (isnan(row[v]) || row[v] == INFINITY)
            return SCAN_INVALID;
        if (row[v] == -INFINITY)
            continue;
        double value = temperature > 0.0 ? noise_perturb(row[v], temperature, key, (uint32_t)v) : (double)row[v];
        if (value > best_value) {
            best_value = value;
            best = v;
        }
    }
    return best;
}

const isa_body isa_scalar = {"scalar", scan_scalar, noisy_best_scalar};
