/* One row in one pass, written once in the vocabulary of vec.h and compiled for each instruction set. */
#ifdef VEC_LANES

#include "isa.h"
#include "noise.h"

#include <math.h>

#define TILE  2048             /* floats: 8 KiB, from memory for the maximum, from the first cache for the sums */
#define FLUSH (32 * VEC_LANES) /* floats whose sums stay in float: 32 additions a lane */

#define LN2    0x1.62e42fefa39efp-1
#define LOG2E  0x1.715476p+0f
#define LN2_HI 0x1.63p-1f       /* 9 bits: its product with a count of halvings is exact */
#define LN2_LO -0x1.bd0106p-13f
#define ROUND  0x1.8p+23f       /* adding it leaves a whole number in the low bits of the mantissa */

/* What the exponentials are taken relative to. exp(l) is formed as 2^n exp(r) straight from the logit, not from the
   rounded difference l - best; only the power of two is relative to best. Logits too large for that are first moved
   by `base`, a difference that is exact there (Sterbenz). */
typedef struct anchor {
    float best;  /* the largest logit so far */
    float base;  /* 0, or best if that is large */
    float top;   /* best - base */
    float floor; /* at or below it exp is taken as 0: exp(-86) is 4e-38 */
    float bias;  /* ROUND, the float's exponent bias and best's power of two */
    double unit; /* what a sum of the exponentials is worth in multiples of exp(best) */
} anchor;

static anchor anchor_at(float best) {
    float base = fabsf(best) > 200.0f ? best : 0.0f;
    float top = best - base, turns = rintf(top * LOG2E);
    double unit = exp((double)turns * LN2 - (double)top);
    return (anchor){best, base, top, top - 86.0f, ROUND + 127.0f - turns, unit};
}

/* Sums over the tokens seen, best left out: mass = sum exp(l - best), moment = sum exp(l - best) (l - best).
   A NaN in the row makes them NaN. */
typedef struct reading {
    anchor at;
    int32_t best; /* its token */
    double mass, moment;
    vfloat second; /* the largest of the others, over its lanes */
} reading;

static inline vfloat vload_some(const float *from, int32_t n) {
    return n >= VEC_LANES ? vload(from) : vload_part(from, n, -INFINITY);
}

static double vsum(vfloat v) {
    double sum = 0.0;
    for (int i = 0; i < VEC_LANES; i++)
        sum += (double)v[i];
    return sum;
}

static float vpeak(vfloat v) {
    float peak = -INFINITY;
    for (int i = 0; i < VEC_LANES; i++)
        peak = v[i] > peak ? v[i] : peak;
    return peak;
}

static vfloat span_peaks(const float *row, int32_t n) {
    vfloat a = vsplat(-INFINITY), b = a, c = a, d = a;
    int32_t i = 0;
    for (; i + 4 * VEC_LANES <= n; i += 4 * VEC_LANES) {
        a = vmax(a, vload(row + i));
        b = vmax(b, vload(row + i + VEC_LANES));
        c = vmax(c, vload(row + i + 2 * VEC_LANES));
        d = vmax(d, vload(row + i + 3 * VEC_LANES));
    }
    for (; i < n; i += VEC_LANES)
        a = vmax(a, vload_some(row + i, n - i));
    return vmax(vmax(a, b), vmax(c, d));
}

/* The first place of a logit that is there. */
static int32_t span_find(const float *row, int32_t n, float logit) {
    int32_t i = 0;
    while (i + VEC_LANES <= n && !vany(vload(row + i) == logit))
        i += VEC_LANES;
    while (i < n - 1 && row[i] != logit)
        i++;
    return i;
}

/* Adds exp(l - best) / unit and its product with l - best. exp(x) = 2^n exp(r) with r in [-ln2/2, ln2/2]; exp(r) is the
   polynomial of degree 5 with the least largest relative error (1.1e-7) among those that begin 1 + r. */
static inline void lanes_add(vfloat logits, const anchor *at, vfloat *mass, vfloat *moment) {
    vfloat x = vmax(vsplat(at->floor), logits - at->base);
    vfloat biased = vfma(x, vsplat(LOG2E), vsplat(at->bias));
    vfloat n = biased - at->bias;
    vfloat r = vfma(n, vsplat(-LN2_LO), vfma(n, vsplat(-LN2_HI), x));
    vfloat p = vfma(r, vsplat(0x1.10625p-7f), vsplat(0x1.572a64p-5f));
    p = vfma(p, r, vsplat(0x1.5557bp-3f));
    p = vfma(p, r, vsplat(0x1.fffdfcp-2f));
    p = vfma(p, r, vsplat(1.0f));
    p = vfma(p, r, vsplat(1.0f));
    vfloat e = p * (vfloat)((vint)biased << 23);
    e = (vfloat)(~(x <= at->floor) & (vint)e); /* NaN stays */
    *mass += e;
    *moment = vfma(e, x - at->top, *moment);
}

static void span_add(const float *row, int32_t n, reading *now) {
    const anchor at = now->at;
    for (int32_t lo = 0; lo < n; lo += FLUSH) {
        int32_t hi = n - lo < FLUSH ? n : lo + FLUSH, i = lo;
        vfloat mass = {0}, moment = {0};
        for (; i + VEC_LANES <= hi; i += VEC_LANES)
            lanes_add(vload(row + i), &at, &mass, &moment);
        if (i < hi)
            lanes_add(vload_part(row + i, hi - i, -INFINITY), &at, &mass, &moment);
        now->mass += vsum(mass) * at.unit;
        now->moment += vsum(moment) * at.unit;
    }
}

/* A new best at `token`: the sums become relative to it, and the old best one of the others. */
static void best_raise(reading *now, int32_t token, float logit) {
    if (now->best >= 0) {
        double fall = (double)now->at.best - (double)logit, share = exp(fall);
        now->moment = (now->moment + fall * (now->mass + 1.0)) * share;
        now->mass = (now->mass + 1.0) * share;
        now->second = vmax(now->second, vsplat(now->at.best));
    }
    now->best = token;
    now->at = anchor_at(logit);
}

static void tile_read(reading *now, const float *row, int32_t lo, int32_t n) {
    const float *tile = row + lo;
    vfloat peaks = span_peaks(tile, n);
    float peak = vpeak(peaks);
    if (now->best >= 0 ? peak <= now->at.best : peak == -INFINITY) {
        now->second = vmax(now->second, peaks);
        span_add(tile, n, now);
        return;
    }
    int32_t at = span_find(tile, n, peak);
    best_raise(now, lo + at, peak);
    now->second = vmax(now->second, vmax(span_peaks(tile, at), span_peaks(tile + at + 1, n - at - 1)));
    span_add(tile, at, now);
    span_add(tile + at + 1, n - at - 1, now);
}

static void VEC_NAME(scan)(const float *row, int32_t n_vocab, scan_record *out) {
    reading now = {.best = SCAN_EMPTY, .at = anchor_at(0.0f), .second = vsplat(-INFINITY)};
    for (int32_t lo = 0; lo < n_vocab; lo += TILE)
        tile_read(&now, row, lo, n_vocab - lo < TILE ? n_vocab - lo : TILE);
    if (isnan(now.mass) || (now.best >= 0 && now.at.best == INFINITY))
        now.best = SCAN_INVALID;
    *out = (scan_record){now.best, -INFINITY, -INFINITY, NAN, NAN};
    if (now.best < 0)
        return;
    double excess = log1p(now.mass);
    out->best_logit = row[now.best];
    out->second_logit = vpeak(now.second);
    out->excess = (float)excess;
    out->entropy = (float)(excess - now.moment / (1.0 + now.mass));
}

/* noise_mix. */
static inline vlong lanes_mix(vlong z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Not below the Gumbel noise -log(-log u) of the tokens from `first` on, and about 0.06 above it at most where it is
   large. With e = 1 - u, cut to 24 bits: -log u >= e + e^2/2; a float's bits, read as a number, are a chord of log2.
   Even tokens lie in the lower halves of the 64-bit lanes, odd ones in the upper: little-endian, so in order. */
static inline vfloat lanes_bound(uint64_t key, int32_t first) {
    vlong even;
    for (int j = 0; j < VEC_LANES / 2; j++)
        even[j] = NOISE_GOLDEN * (uint64_t)(2 * j);
    even += key + NOISE_GOLDEN * ((uint64_t)first + 1);
    vlong odd = lanes_mix(even + NOISE_GOLDEN);
    even = lanes_mix(even);
    vint e24 = (vint)((~even >> 40) | ((~odd >> 8) & UINT64_C(0xFFFFFF00000000)));
    vfloat e = __builtin_convertvector(e24, vfloat) * 0x1p-24f;
    vfloat x = vfma(e, e * 0.5f, e);
    vfloat log2_x = __builtin_convertvector((vint)x, vfloat);
    return vfma(log2_x, vsplat(-0x1.62e43p-24f), vsplat(127.0f * 0x1.62e43p-1f));
}

/* A draw under way. Bounds are floats: `slack` covers their rounding. */
typedef struct draw {
    double temperature;
    uint64_t key;
    int32_t best;
    double value;
    float reach; /* a token whose bounded value is below cannot win */
    float floor; /* nor one whose logit is below: the noise never exceeds 36.8 */
} draw;

static void draw_settle(draw *now, int32_t token, double value) {
    double slack = 1e-6 * (fabs(value) + 100.0 * now->temperature) + 1e-36;
    now->best = token;
    now->value = value;
    now->reach = (float)(value - slack);
    now->floor = (float)(value - slack - 37.0 * now->temperature);
}

/* Exact for the lanes that may win; false if the row is invalid. */
static int draw_lanes(draw *now, vfloat logits, vint open, int32_t first) {
    for (int i = 0; i < VEC_LANES; i++) {
        if (!open[i] || logits[i] == -INFINITY)
            continue;
        if (!(logits[i] < INFINITY))
            return 0;
        double value = noise_perturb(logits[i], now->temperature, now->key, (uint32_t)(first + i));
        if (value > now->value)
            draw_settle(now, first + i, value);
    }
    return 1;
}

static int32_t VEC_NAME(noisy_best)(const float *row, int32_t n_vocab, double temperature, uint64_t key) {
    draw now = {temperature, key, SCAN_EMPTY, -INFINITY, -INFINITY, -INFINITY};
    for (int32_t i = 0; i < n_vocab; i += VEC_LANES) {
        vfloat logits = vload_some(row + i, n_vocab - i);
        if (!vany(~(logits < now.floor))) /* so that NaN is met */
            continue;
        vint open = ~(vfma(vsplat((float)temperature), lanes_bound(key, i), logits) < now.reach);
        if (vany(open) && !draw_lanes(&now, logits, open, i))
            return SCAN_INVALID;
    }
    return now.best;
}

static inline vdouble vwiden(vfloat v, int half) {
    vhalf lanes;
    memcpy(&lanes, (const char *)&v + (size_t)half * sizeof lanes, sizeof lanes);
    return __builtin_convertvector(lanes, vdouble);
}

/* The weights of one half of the lanes: exp in double, by Taylor to r^12, relative error 4e-16. Below exp(-700): 0. */
static inline vdouble lanes_weigh(vfloat logits, int half, cut_weight weight) {
    static const double terms[] = {1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                                   1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0};
    const double bias = 0x1.8p+52 + 1023.0;
    vdouble x = (vwiden(logits, half) - weight.best_logit) * weight.inv_temperature;
    vdouble biased = vfma_wide(x, vsplat_wide(0x1.71547652b82fep+0), vsplat_wide(bias)), n = biased - bias;
    vdouble r = x - n * 0x1.62e42feep-1 - n * 0x1.a39ef35793c76p-33; /* the first product is exact: 32 bits */
    vdouble p = vfma_wide(r, vsplat_wide(1.0 / 479001600), vsplat_wide(terms[0]));
    for (int k = 1; k < 12; k++)
        p = vfma_wide(p, r, vsplat_wide(terms[k]));
    p *= (vdouble)((vlong)biased << 52);
    return (vdouble)((vlong)(x > -700.0) & (vlong)p);
}

static double VEC_NAME(mass)(const float *row, int32_t n_vocab, cut_weight weight) {
    vdouble sum = {0};
    for (int32_t i = 0; i < n_vocab; i += VEC_LANES) {
        vfloat logits = vload_some(row + i, n_vocab - i);
        sum += lanes_weigh(logits, 0, weight) + lanes_weigh(logits, 1, weight);
    }
    double total = 0.0;
    for (int i = 0; i < VEC_LANES / 2; i++)
        total += sum[i];
    return total;
}

static void lanes_bin(vfloat logits, cut_weight weight, cut_range range, double *bins) {
    double weights[VEC_LANES];
    uint32_t places[VEC_LANES];
    vdouble low = lanes_weigh(logits, 0, weight), high = lanes_weigh(logits, 1, weight);
    vint bits = (vint)(logits + 0.0f); /* as in logit_rank */
    vuint place = (range.hi - (vuint)(bits ^ ((bits >> 31) | INT32_MIN))) >> range.shift;
    memcpy(weights, &low, sizeof low);
    memcpy(weights + VEC_LANES / 2, &high, sizeof high);
    memcpy(places, &place, sizeof place);
    for (int i = 0; i < VEC_LANES; i++)
        bins[places[i] < CUT_BINS ? places[i] : CUT_BINS] += weights[i];
}

static void VEC_NAME(bins)(const float *row, int32_t n_vocab, cut_weight weight, cut_range range, double *bins) {
    float least = rank_logit(range_lo(range)), most = rank_logit(range.hi);
    for (int32_t i = 0; i < n_vocab; i += VEC_LANES) {
        vfloat logits = vload_some(row + i, n_vocab - i);
        if (vany((logits >= least) & (logits <= most)))
            lanes_bin(logits, weight, range, bins);
    }
}

static void VEC_NAME(peaks)(const float *row, int32_t n_vocab, int32_t n_each, float *peaks) {
    for (int32_t lo = 0; lo < n_vocab; lo += n_each)
        *peaks++ = vpeak(span_peaks(row + lo, n_vocab - lo < n_each ? n_vocab - lo : n_each));
}

/* Returns how many more of those equal to `logit` may stay. */
static int32_t span_cut(float *row, int32_t n, float logit, int32_t n_equal) {
    for (int32_t i = 0; i < n; i++)
        if (row[i] < logit || (row[i] == logit && n_equal-- <= 0))
            row[i] = -INFINITY;
    return n_equal;
}

static void VEC_NAME(cut)(float *row, int32_t n_vocab, float logit, int32_t n_equal) {
    int32_t i = 0;
    for (; i + VEC_LANES <= n_vocab; i += VEC_LANES) {
        vfloat logits = vload(row + i);
        vint below = logits < logit;
        if (vany(logits == logit))
            n_equal = span_cut(row + i, VEC_LANES, logit, n_equal);
        else if (vany(below))
            vstore(row + i, (vfloat)((~below & (vint)logits) | (below & (vint)vsplat(-INFINITY))));
    }
    span_cut(row + i, n_vocab - i, logit, n_equal);
}

const isa_body VEC_NAME(isa) = {
    VEC_STRING,     VEC_NAME(scan),  VEC_NAME(noisy_best), VEC_NAME(mass),
    VEC_NAME(bins), VEC_NAME(peaks), VEC_NAME(cut),
};

VEC_END
#endif
