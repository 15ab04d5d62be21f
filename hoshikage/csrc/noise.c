#include "noise.h"

#include "uncontracted.h"

#include <math.h>

uint64_t noise_key(uint64_t seed, uint32_t step, uint32_t position) {
    uint64_t key = noise_mix(seed + NOISE_GOLDEN);
    key = noise_mix(key ^ (UINT64_C(0xD1B54A32D192ED03) * ((uint64_t)step + 1)));
    return noise_mix(key ^ (UINT64_C(0x8CB92BA72F3D8DD7) * ((uint64_t)position + 1)));
}

double noise_uniform(uint64_t key, uint32_t token) {
    double u = ((double)(noise_bits(key, token) >> 11) + 0.5) * 0x1p-53;
    return u < 1.0 ? u : 1.0 - 0x1p-53; /* 2^53 - 0.5 rounds up: once in 2^53 draws */
}

double noise_gumbel(uint64_t key, uint32_t token) {
    return -log(-log(noise_uniform(key, token)));
}

double noise_perturb(float logit, double temperature, uint64_t key, uint32_t token) {
    return (double)logit + temperature * noise_gumbel(key, token);
}
