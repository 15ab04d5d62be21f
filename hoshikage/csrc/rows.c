#include "isa.h"

#include <float.h>

/* Where a cut falls: logits above stay, of those equal to it the first n_equal. */
typedef struct cut {
    float logit;
    int32_t n_equal;
} cut;

/* The logit at which the weights, summed in descending order, first exceed `limit`; the least in the range if they
   never do. Ranks are in [lo, hi], hi that of the largest logit. A radix descent: each round looks into one bin of the
   round before, three at most. */
static cut cut_find(const float *row, int32_t n_vocab, cut_weight weight, uint32_t lo, uint32_t hi, double limit) {
    cut_range range = {hi, 0};
    while (range_lo(range) > lo)
        range.shift++;
    for (double above = 0.0;; range.shift = range.shift > CUT_BITS ? range.shift - CUT_BITS : 0) {
        double bins[CUT_BINS + 1] = {0.0}, sum = above;
        uint32_t found = 0;
        isa_current()->bins(row, n_vocab, weight, range, bins);
        for (uint32_t i = 0; i < CUT_BINS && sum <= limit; i++) {
            if (bins[i] == 0.0)
                continue;
            above = sum;
            sum += bins[i];
            found = i;
        }
        range.hi -= found << range.shift;
        if (range.shift > 0)
            continue;
        cut at = {rank_logit(range.hi), 1};
        double each = cut_weigh(weight, at.logit);
        while (at.n_equal < n_vocab && above + at.n_equal * each <= limit)
            at.n_equal++;
        return at;
    }
}

/* Below this rank all tokens together weigh less than what top-p cuts: the cut does not fall there. */
static uint32_t nucleus_rank(int32_t n_vocab, cut_weight weight, double mass_cut) {
    double logit = weight.best_logit + log(0.5 * mass_cut / n_vocab) / weight.inv_temperature;
    return logit > -FLT_MAX ? logit_rank((float)logit) - 1 : logit_rank(-FLT_MAX); /* one lower, for the rounding */
}

/* Of the k-th largest of the largest of each group: not above the k-th largest of all. */
static uint32_t kth_rank(const float *row, int32_t n_vocab, int32_t k, uint32_t lo, uint32_t hi) {
    float peaks[1024];
    int32_t n_each = (n_vocab + 1023) / 1024, n_groups = (n_vocab + n_each - 1) / n_each;
    if (k > n_groups || n_each == 1)
        return lo;
    isa_current()->peaks(row, n_vocab, n_each, peaks);
    for (int32_t i = 0, n_finite = n_groups; i < n_groups; i++)
        if (peaks[i] == -INFINITY && --n_finite < k)
            return lo;
    return logit_rank(cut_find(peaks, n_groups, (cut_weight){0.0, 0.0}, lo, hi, k - 0.5).logit);
}

void row_keep(float *row, int32_t n_vocab, double inv_temperature, double top_p, int32_t top_k) {
    scan_record record;
    scan_row(row, n_vocab, &record);
    if (record.best < 0)
        return;
    uint32_t lo = logit_rank(-FLT_MAX), hi = logit_rank(record.best_logit);
    if (top_p > 0.0 && top_p < 1.0) {
        cut_weight weight = {record.best_logit, fmin(inv_temperature, 1e300)};
        double mass = isa_current()->mass(row, n_vocab, weight);
        cut at = cut_find(row, n_vocab, weight, nucleus_rank(n_vocab, weight, (1.0 - top_p) * mass), hi, top_p * mass);
        isa_current()->cut(row, n_vocab, at.logit, at.n_equal);
        lo = logit_rank(at.logit);
    }
    if (top_k >= 1 && top_k < n_vocab) {
        lo = kth_rank(row, n_vocab, top_k, lo, hi);
        cut at = cut_find(row, n_vocab, (cut_weight){record.best_logit, 0.0}, lo, hi, top_k - 0.5);
        isa_current()->cut(row, n_vocab, at.logit, n_vocab);
    }
}

int32_t row_top(const float *row, int32_t n_vocab, int32_t k, int32_t *tokens, float *logits) {
    int32_t n = 0;
    for (int32_t v = 0; v < n_vocab && k > 0; v++) {
        if (!(row[v] > (n < k ? -INFINITY : logits[n - 1])))
            continue;
        int32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && row[v] > logits[at - 1]; at--) {
            logits[at] = logits[at - 1];
            tokens[at] = tokens[at - 1];
        }
        logits[at] = row[v];
        tokens[at] = v;
    }
    return n;
}

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
