/* The vector vocabulary of scan_body.h for one instruction set, named by the including file; VEC_LANES floats at a
   time. GCC's and Clang's vector types give + - * < & << and conversions; only what they cannot say stands here:
     vmax  the larger of a and b, lane by lane; NaN where b is NaN
     vfma  a * b + c, rounded once where the machine can; vfma_wide for doubles
     vany  is any lane of a comparison true?
   Where the instruction set does not exist VEC_LANES stays undefined and the body compiles to nothing. */
#include <stdint.h>
#include <string.h>

#if defined(VEC_AVX512) && defined(__x86_64__)
#define VEC_LANES 16
#define VEC_NAME(base) base##_avx512
#define VEC_STRING "avx512"
#define VEC_TARGET "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"
#elif defined(VEC_AVX2) && defined(__x86_64__)
#define VEC_LANES 8
#define VEC_NAME(base) base##_avx2
#define VEC_STRING "avx2"
#define VEC_TARGET "avx2,fma"
#elif defined(VEC_NEON) && defined(__aarch64__)
#define VEC_LANES 4
#define VEC_NAME(base) base##_neon
#define VEC_STRING "neon"
#elif defined(VEC_SCALAR)
#define VEC_LANES 4 /* left to the compiler: whatever the least machine of this kind has */
#define VEC_NAME(base) base##_scalar
#define VEC_STRING "scalar"
#endif

#if defined(VEC_TARGET) && defined(__clang__)
#pragma clang attribute push(__attribute__((target(VEC_TARGET))), apply_to = function)
#define VEC_END _Pragma("clang attribute pop")
#elif defined(VEC_TARGET)
#define VEC_PRAGMA(text) _Pragma(#text)
#define VEC_APPLY(features) VEC_PRAGMA(GCC target(features))
VEC_APPLY(VEC_TARGET)
#define VEC_END
#else
#define VEC_END
#endif

#if defined(VEC_LANES) && defined(VEC_TARGET)
#include <immintrin.h>
#elif defined(VEC_LANES) && defined(VEC_NEON)
#include <arm_neon.h>
#endif

#ifdef VEC_LANES

typedef float vfloat __attribute__((vector_size(4 * VEC_LANES)));
typedef int32_t vint __attribute__((vector_size(4 * VEC_LANES)));
typedef uint32_t vuint __attribute__((vector_size(4 * VEC_LANES)));
typedef uint64_t vlong __attribute__((vector_size(4 * VEC_LANES)));  /* half as many lanes */
typedef double vdouble __attribute__((vector_size(4 * VEC_LANES)));  /* half as many lanes */
typedef float vhalf __attribute__((vector_size(2 * VEC_LANES)));     /* half as many lanes */

static inline vfloat vload(const float *from) {
    vfloat v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void vstore(float *to, vfloat v) {
    memcpy(to, &v, sizeof v);
}

/* The first n lanes from memory, the others filled. */
static inline vfloat vload_part(const float *from, int32_t n, float filling) {
    vfloat v;
    for (int32_t i = 0; i < VEC_LANES; i++)
        v[i] = i < n ? from[i] : filling;
    return v;
}

static inline vfloat vsplat(float x) {
    return x - (vfloat){0};
}

static inline vdouble vsplat_wide(double x) {
    return x - (vdouble){0};
}

#if defined(VEC_AVX512)
static inline vfloat vmax(vfloat a, vfloat b) { return _mm512_max_ps(a, b); }
static inline vfloat vfma(vfloat a, vfloat b, vfloat c) { return _mm512_fmadd_ps(a, b, c); }
static inline vdouble vfma_wide(vdouble a, vdouble b, vdouble c) { return _mm512_fmadd_pd(a, b, c); }
static inline int vany(vint mask) { return _mm512_movepi32_mask((__m512i)mask) != 0; }
#elif defined(VEC_AVX2)
static inline vfloat vmax(vfloat a, vfloat b) { return _mm256_max_ps(a, b); }
static inline vfloat vfma(vfloat a, vfloat b, vfloat c) { return _mm256_fmadd_ps(a, b, c); }
static inline vdouble vfma_wide(vdouble a, vdouble b, vdouble c) { return _mm256_fmadd_pd(a, b, c); }
static inline int vany(vint mask) { return _mm256_movemask_ps((__m256)mask) != 0; }
#elif defined(VEC_NEON)
static inline vfloat vmax(vfloat a, vfloat b) { return vmaxq_f32(a, b); }
static inline vfloat vfma(vfloat a, vfloat b, vfloat c) { return vfmaq_f32(c, a, b); }
static inline vdouble vfma_wide(vdouble a, vdouble b, vdouble c) { return vfmaq_f64(c, a, b); }
static inline int vany(vint mask) { return vmaxvq_u32((uint32x4_t)mask) != 0; }
#else
static inline vfloat vmax(vfloat a, vfloat b) {
    vint first = a > b;
    return (vfloat)((first & (vint)a) | (~first & (vint)b));
}
static inline vfloat vfma(vfloat a, vfloat b, vfloat c) { return a * b + c; }
static inline vdouble vfma_wide(vdouble a, vdouble b, vdouble c) { return a * b + c; }
static inline int vany(vint mask) {
    vlong halves = (vlong)mask;
    return (halves[0] | halves[1]) != 0;
}
#endif
#endif
