/* Counter-based noise: a number is a pure function of (seed, step, position, token), so it is the same in any order,
   on any thread and for any instruction set. SplitMix64's finaliser does the mixing. */
#ifndef HOSHIKAGE_NOISE_H
#define HOSHIKAGE_NOISE_H

#include <stdint.h>

#define NOISE_GOLDEN UINT64_C(0x9E3779B97F4A7C15)

/* "Tokens" no vocabulary has: the draws that belong to a position and not to one of its logits. */
#define NOISE_SCORE  UINT32_C(0xFFFFFFFF) /* the random score */
#define NOISE_ORIGIN UINT32_C(0xFFFFFFFE) /* origin: reveal or not */
#define NOISE_ALG    UINT32_C(0xFFFFFFFD) /* alg_temp's draw */

static inline uint64_t noise_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The 64 bits behind noise_uniform. */
static inline uint64_t noise_bits(uint64_t key, uint32_t token) {
    return noise_mix(key + NOISE_GOLDEN * ((uint64_t)token + 1));
}

uint64_t noise_key(uint64_t seed, uint32_t step, uint32_t position);
double noise_uniform(uint64_t key, uint32_t token); /* strictly inside (0, 1) */
double noise_gumbel(uint64_t key, uint32_t token);  /* standard Gumbel: -log(-log(u)) */

/* logit + temperature * gumbel: the one place where this sum is formed, so every path rounds it alike. */
double noise_perturb(float logit, double temperature, uint64_t key, uint32_t token);

#endif
