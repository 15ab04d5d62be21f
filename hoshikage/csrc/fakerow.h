/* The fake model: logits made of a hash of the whole canvas, for tests without weights. */
#ifndef HOSHIKAGE_FAKEROW_H
#define HOSHIKAGE_FAKEROW_H

#include <stdint.h>

uint64_t fakerow_hash(const int32_t *tokens, int32_t n_tokens, uint64_t salt); /* of a canvas */
void fakerow_fill(uint64_t canvas_hash, int32_t position, float *row, int32_t n_vocab);

#endif
