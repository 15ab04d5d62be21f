/* Every instruction set of this machine against naive loops in double, on rows that end where their memory ends: for
   sanitizers, and for machines that are only emulated. Names the instruction sets it has seen. */
#include "check.h"
#include "fakerow.h"
#include "noise.h"
#include "scan.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static float logit_make(int kind, uint64_t key, int32_t v, int32_t n) {
    double u = noise_uniform(key, (uint32_t)v), w = noise_uniform(key, 0x80000000u + (uint32_t)v);
    switch (kind) {
    case 0: return (float)(4.0 * noise_gumbel(key, (uint32_t)v));
    case 1: return u < 0.5 ? -INFINITY : (float)(20.0 * w);
    case 2: return (float)(int)(4.0 * u) * 0.25f;
    case 3: return (float)(v - n) * 0.01f;
    case 4: return (float)((u - 0.5) * 6e38);
    case 5: return (float)((u - 0.5) * 1e-40);
    case 6: return v == n / 2 ? (float)(100.0 * w) : (float)u;
    default: return -INFINITY;
    }
}

static void record_naive(const float *row, int32_t n, scan_record *out) {
    *out = (scan_record){SCAN_EMPTY, -INFINITY, -INFINITY, NAN, NAN};
    for (int32_t v = 0; v < n; v++)
        if (row[v] > out->best_logit) {
            out->best = v;
            out->best_logit = row[v];
        }
    double mass = 0.0, moment = 0.0;
    for (int32_t v = 0; v < n; v++) {
        double gap = (double)row[v] - (double)out->best_logit;
        if (v == out->best || row[v] == -INFINITY)
            continue;
        mass += exp(gap);
        moment += exp(gap) * gap;
        out->second_logit = row[v] > out->second_logit ? row[v] : out->second_logit;
    }
    if (out->best >= 0) {
        out->excess = (float)log1p(mass);
        out->entropy = (float)(log1p(mass) - moment / (1.0 + mass));
    }
}

static int32_t noisy_best_naive(const float *row, int32_t n, double temperature, uint64_t key) {
    int32_t best = SCAN_EMPTY;
    double value = -INFINITY;
    for (int32_t v = 0; v < n; v++)
        if (row[v] > -INFINITY && noise_perturb(row[v], temperature, key, (uint32_t)v) > value) {
            best = v;
            value = noise_perturb(row[v], temperature, key, (uint32_t)v);
        }
    return best;
}

static int near(float got, float wanted) {
    return (isnan(got) && isnan(wanted)) || fabs((double)got - (double)wanted) <= 1e-30 + 6e-7 * fabs((double)wanted);
}

/* Those kept by top-k are the ones with fewer than k larger. */
static void keep_check(const float *row, int32_t n, int32_t k) {
    float *kept = malloc((size_t)n * sizeof *kept);
    memcpy(kept, row, (size_t)n * sizeof *kept);
    row_keep(kept, n, 1.0, 0.0, k);
    for (int32_t v = 0; v < n; v++) {
        int32_t n_larger = 0;
        for (int32_t w = 0; w < n; w++)
            n_larger += row[w] > row[v];
        CHECK(kept[v] == (n_larger < k || k >= n ? row[v] : -INFINITY), "n %d k %d token %d", n, k, v);
    }
    row_keep(kept, n, 0.7, 0.9, 0);
    free(kept);
}

static void row_check(const float *row, int32_t n, int kind) {
    scan_record got, wanted;
    scan_row(row, n, &got);
    record_naive(row, n, &wanted);
    CHECK(got.best == wanted.best && got.best_logit == wanted.best_logit && got.second_logit == wanted.second_logit,
          "%s kind %d n %d: best %d wanted %d", isa_name(), kind, n, got.best, wanted.best);
    CHECK(near(got.excess, wanted.excess), "%s kind %d n %d: %g %g", isa_name(), kind, n, got.excess, wanted.excess);
    CHECK(near(got.entropy, wanted.entropy), "%s kind %d n %d: H %g %g", isa_name(), kind, n, got.entropy,
          wanted.entropy);
    for (double temperature = 0.1; temperature < 20.0; temperature *= 7.0) {
        int32_t drawn = scan_noisy_best(row, n, temperature, (uint64_t)n);
        int32_t naive = noisy_best_naive(row, n, temperature, (uint64_t)n);
        CHECK(drawn == naive, "%s kind %d n %d T %g: %d %d", isa_name(), kind, n, temperature, drawn, naive);
    }
    if (n <= 600 && wanted.best >= 0)
        for (int32_t k = 1; k <= n; k = 3 * k + 1)
            keep_check(row, n, k);
}

static void isa_check(void) {
    static const int32_t sizes[] = {1, 2, 3, 7, 15, 16, 17, 33, 70, 127, 511, 600, 2047, 2048, 2049, 4999, 20000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 8; kind++)
            for (int32_t offset = sizes[s] > 600 ? 3 : 0; offset < 4; offset++) {
                int32_t n = sizes[s];
                float *memory = malloc((size_t)(n + offset) * sizeof *memory), *row = memory + offset;
                for (int32_t v = 0; v < n; v++)
                    row[v] = logit_make(kind, noise_key(17, (uint32_t)kind, (uint32_t)n), v, n);
                row_check(row, n, kind);
                row[n - 1] = kind % 2 ? NAN : INFINITY;
                scan_record record;
                scan_row(row, n, &record);
                CHECK(record.best == SCAN_INVALID, "%s kind %d n %d", isa_name(), kind, n);
                free(memory);
            }
}

static void rest_check(void) {
    int32_t tokens[] = {5, 0, 126463};
    float row[70], other[70];
    fakerow_fill(fakerow_hash(tokens, 3, 9), 2, row, 70);
    fakerow_fill(fakerow_hash(tokens, 3, 10), 0, other, 70);
    row_guide(row, other, 70, 1.5f);
    row_scale(row, 70, 0.5f);
    /* tests/fake.py says what these must be; here: the same on every machine */
    fakerow_fill(fakerow_hash(tokens, 3, 9), 2, row, 70);
    printf("fake %a %a\n", (double)row[0], (double)row[69]);
}

int main(void) {
    static const char *const names[] = {"avx512", "avx2", "neon", "scalar"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (isa_choose(names[i]) == 0) {
            isa_check();
            printf("%s\n", isa_name());
        }
    rest_check();
    return 0;
}
