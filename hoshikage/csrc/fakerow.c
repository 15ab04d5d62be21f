#include "fakerow.h"

#include "noise.h"
#include "uncontracted.h"

#define SHARPNESS UINT32_C(0xFFFFFFF0) /* the draw that makes some rows surer than others */

#define SEED UINT64_C(0x6A09E667F3BCC909)

static uint64_t with_token(uint64_t hash, int32_t position, int32_t token, uint64_t staleness) {
    return noise_mix(hash ^ (NOISE_GOLDEN * (uint64_t)((int64_t)token + 1)) ^ staleness) + (uint64_t)position;
}

uint64_t fakerow_hash(const int32_t *tokens, int32_t n_tokens, uint64_t salt) {
    uint64_t hash = noise_mix(SEED ^ salt);
    for (int32_t p = 0; p < n_tokens; p++)
        hash = with_token(hash, p, tokens[p], 0);
    return hash;
}

uint64_t fakerow_cached(const int32_t *tokens, uint64_t *written_in, int32_t n, int32_t lo, int32_t hi, uint64_t salt) {
    uint64_t present = fakerow_hash(tokens, n, salt), hash = noise_mix(SEED ^ salt);
    for (int32_t p = lo; p < hi; p++)
        written_in[p] = present;
    for (int32_t p = 0; p < n; p++)
        hash = with_token(hash, p, tokens[p], written_in[p] == present ? 0 : written_in[p]);
    return hash;
}

void fakerow_fill(uint64_t canvas_hash, int32_t position, float *row, int32_t n_vocab) {
    uint64_t key = noise_mix(canvas_hash ^ (UINT64_C(0xD1B54A32D192ED03) * (uint64_t)((int64_t)position + 1)));
    double sharpness = 1.0 + 11.0 * noise_uniform(key, SHARPNESS);
    for (int32_t v = 0; v < n_vocab; v++)
        row[v] = (float)(sharpness * (2.0 * noise_uniform(key, (uint32_t)v) - 1.0));
}
