/* The bodies compiled from scan_body.h, one per instruction set, and the one in use. */
#ifndef HOSHIKAGE_ISA_H
#define HOSHIKAGE_ISA_H

#include "scan.h"

#include <math.h>
#include <string.h>

/* A token's share in a cut: exp((l - best_logit) * inv_temperature). At inv_temperature 0 every token counts 1. */
typedef struct cut_weight {
    double best_logit;
    double inv_temperature;
} cut_weight;

static inline double cut_weigh(cut_weight weight, float logit) {
    return exp(((double)logit - weight.best_logit) * weight.inv_temperature);
}

/* A whole number that orders as logits do: equal for equal ones (-0 and 0), larger for larger. Not for NaN. */
static inline uint32_t logit_rank(float logit) {
    uint32_t bits;
    logit += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &logit, sizeof bits);
    return bits >> 31 ? ~bits : bits | UINT32_C(0x80000000);
}

static inline float rank_logit(uint32_t rank) {
    uint32_t bits = rank >> 31 ? rank & UINT32_C(0x7FFFFFFF) : ~rank;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

#define CUT_BITS 11
#define CUT_BINS (1 << CUT_BITS)

/* Bin b holds the logits whose rank is hi - (b << shift) or up to (1 << shift) - 1 less. */
typedef struct cut_range {
    uint32_t hi;
    int shift;
} cut_range;

static inline uint32_t range_lo(cut_range range) {
    uint32_t least = logit_rank(-INFINITY), span = ((uint32_t)CUT_BINS << range.shift) - 1;
    return range.hi - least > span ? range.hi - span : least;
}

typedef struct isa_body {
    const char *name;
    void (*scan)(const float *row, int32_t n_vocab, scan_record *out);
    int32_t (*noisy_best)(const float *row, int32_t n_vocab, double temperature, uint64_t key);
    /* For row_keep, on rows without NaN or +INFINITY: */
    double (*mass)(const float *row, int32_t n_vocab, cut_weight weight); /* the weights' sum */
    void (*bins)(const float *row, int32_t n_vocab, cut_weight weight, cut_range range, double *bins);
        /* adds the weights to bins[0..CUT_BINS]; the last one takes what belongs nowhere */
    void (*peaks)(const float *row, int32_t n_vocab, int32_t n_each, float *peaks); /* the largest of every n_each */
    void (*cut)(float *row, int32_t n_vocab, float logit, int32_t n_equal);
        /* to -INFINITY: logits below `logit` and those equal to it but for the first n_equal */
} isa_body;

const isa_body *isa_current(void);

#endif
