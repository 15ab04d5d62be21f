/* The fake model: logits made of a hash of the whole canvas, for tests without weights. */
#ifndef HOSHIKAGE_FAKEROW_H
#define HOSHIKAGE_FAKEROW_H

#include <stdint.h>

uint64_t fakerow_hash(const int32_t *tokens, int32_t n_tokens, uint64_t salt); /* of a canvas */
/* The same of tokens [n] that a cache holds, of which [lo, hi) are computed now. written_in [n] keeps for each the hash of
   the canvas that it was computed in: a cell of another canvas than the present one is stale, and changes the result. */
uint64_t fakerow_cached(const int32_t *tokens, uint64_t *written_in, int32_t n, int32_t lo, int32_t hi, uint64_t salt);
void fakerow_fill(uint64_t canvas_hash, int32_t position, float *row, int32_t n_vocab);

#endif
