# The C layer (hoshikage/csrc), in header order. Extensions that cimport this need include_dirs=["hoshikage"].
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdio cimport FILE

cdef extern from "csrc/noise.h" nogil:
    const uint32_t NOISE_SCORE
    const uint32_t NOISE_ORIGIN
    const uint32_t NOISE_ALG
    uint64_t noise_mix(uint64_t z) noexcept
    uint64_t noise_key(uint64_t seed, uint32_t step, uint32_t position) noexcept
    double noise_uniform(uint64_t key, uint32_t token) noexcept
    double noise_gumbel(uint64_t key, uint32_t token) noexcept
    double noise_perturb(float logit, double temperature, uint64_t key, uint32_t token) noexcept

cdef extern from "csrc/scan.h" nogil:
    const int32_t SCAN_INVALID
    const int32_t SCAN_EMPTY
    ctypedef struct scan_record:
        int32_t best
        float best_logit
        float second_logit
        float excess
        float entropy
    void scan_row(const float *row, int32_t n_vocab, scan_record *out) noexcept
    void scan_rows(const float *const *rows, int32_t n_rows, int32_t n_vocab, scan_record *out,
                   int32_t n_threads) noexcept
    int32_t scan_noisy_best(const float *row, int32_t n_vocab, double temperature, uint64_t key) noexcept
    void row_keep(float *row, int32_t n_vocab, double inv_temperature, double top_p, int32_t top_k) noexcept
    int32_t row_top(const float *row, int32_t n_vocab, int32_t k, int32_t *tokens, float *logits) noexcept
    void row_scale(float *row, int32_t n_vocab, float factor) noexcept
    void row_guide(float *cond_inout, const float *uncond, int32_t n_vocab, float scale) noexcept
    const char *isa_name() noexcept
    int isa_choose(const char *forced) noexcept

cdef extern from "csrc/threads.h" nogil:
    void pool_run(void (*body)(void *ctx, int32_t i) noexcept nogil, void *ctx, int32_t n, int32_t n_threads) noexcept

cdef extern from "csrc/stack.h" nogil:
    int stack_call(size_t n_bytes, void (*body)(void *ctx) noexcept nogil, void *ctx) noexcept

cdef extern from "csrc/overlay.h" nogil:
    ctypedef struct overlay_part:
        const void *bytes
        int fd
        int64_t offset
        int64_t length
    FILE *overlay_open(const overlay_part *parts, int n_parts) noexcept

cdef extern from "csrc/fakerow.h" nogil:
    uint64_t fakerow_hash(const int32_t *tokens, int32_t n_tokens, uint64_t salt) noexcept
    uint64_t fakerow_cached(const int32_t *tokens, uint64_t *written_in, int32_t n, int32_t lo, int32_t hi,
                            uint64_t salt) noexcept
    void fakerow_fill(uint64_t canvas_hash, int32_t position, float *row, int32_t n_vocab) noexcept
