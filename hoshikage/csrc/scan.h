/* Readings and edits of a row: the logits of one position over the whole vocabulary.
   A row is n_vocab floats at any alignment. -INFINITY is probability 0; NaN and +INFINITY make a row invalid. */
#ifndef HOSHIKAGE_SCAN_H
#define HOSHIKAGE_SCAN_H

#include <stdint.h>

#define SCAN_INVALID (-1) /* the row holds a NaN or +INFINITY */
#define SCAN_EMPTY   (-2) /* every logit is -INFINITY, or there are none */

/* One pass over a row. With best < 0 the logits are -INFINITY, excess and entropy NaN. */
typedef struct scan_record {
    int32_t best;       /* argmax; among equals the lower token; or SCAN_INVALID, SCAN_EMPTY */
    float best_logit;
    float second_logit; /* largest of the others, -INFINITY if there are none */
    float excess;       /* log(sum exp(l)) - best_logit: precise near certainty; p(best) = exp(-excess) */
    float entropy;      /* -sum p ln p, nats, >= 0 */
} scan_record;

void scan_row(const float *row, int32_t n_vocab, scan_record *out);
void scan_rows(const float *const *rows, int32_t n_rows, int32_t n_vocab, scan_record *out, int32_t n_threads);

/* argmax of logit + temperature * gumbel(key, token) in double, among equals the lower token: a draw from
   softmax(l / temperature). temperature <= 0: plain argmax. May return SCAN_INVALID or SCAN_EMPTY. */
int32_t scan_noisy_best(const float *row, int32_t n_vocab, double temperature, uint64_t key);

/* Cut a row for sampling: cut tokens become -INFINITY, the others stay untouched. First top-p on
   softmax(l * inv_temperature), in descending order (among equals the lower token first), up to and including the
   first token at which the cumulative probability exceeds top_p; then top-k, keeping every logit equal to the k-th.
   Off: top_p outside (0, 1); top_k < 1 or >= n_vocab. An invalid row is left as it is. */
void row_keep(float *row, int32_t n_vocab, double inv_temperature, double top_p, int32_t top_k);

/* The k largest logits and their tokens, in descending order, among equals the lower token first. Returns how many there
   are: fewer than k where others are -INFINITY. */
int32_t row_top(const float *row, int32_t n_vocab, int32_t k, int32_t *tokens, float *logits);

void row_scale(float *row, int32_t n_vocab, float factor);

/* cond <- uncond + (scale + 1) * (cond - uncond); -INFINITY in cond stays. */
void row_guide(float *cond_inout, const float *uncond, int32_t n_vocab, float scale);

/* Which body runs: "avx512", "avx2", "neon" or "scalar". isa_choose(NULL or "") takes the best this machine has and is
   implied by the first use; it returns -1, and changes nothing, for a name unknown or not supported here. */
const char *isa_name(void);
int isa_choose(const char *forced);

#endif
