/* llama.cpp's samplers throw C++ exceptions, which would end the process on their way through C. Here each becomes
   false or NULL. For C++ only: what includes it is compiled as such for its sake. */
#ifndef HOSHIKAGE_SAMPLERS_H
#define HOSHIKAGE_SAMPLERS_H

#include <time.h>

#include "llama.h"

/* Seconds of one thread's work. What an ambiguous grammar has to keep in mind can double with every token; others wait. */
static const double SAMPLER_SECONDS = 0.5;

static inline double sampler_clock() noexcept {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

template <typename Work> static bool sampler_guard(const Work &work) noexcept {
    try {
        work();
        return true;
    } catch (...) {
        return false;
    }
}

template <typename Work> static bool sampler_in_time(const Work &work) noexcept {
    const double start = sampler_clock();
    return sampler_guard(work) && sampler_clock() - start < SAMPLER_SECONDS;
}

/* False: the sampler's state is undefined from here on, and it may only be freed. */
static inline bool sampler_accept(llama_sampler *sampler, llama_token token) noexcept {
    return sampler_in_time([&] { llama_sampler_accept(sampler, token); });
}

static inline bool sampler_apply(llama_sampler *sampler, llama_token_data_array *candidates) noexcept {
    return sampler_in_time([&] { llama_sampler_apply(sampler, candidates); });
}

static inline llama_sampler *sampler_grammar(const llama_vocab *vocab, const char *grammar) noexcept {
    llama_sampler *made = nullptr;
    sampler_guard([&] { made = llama_sampler_init_grammar(vocab, grammar, "root"); });
    return made;
}

static inline llama_sampler *sampler_dry(const llama_vocab *vocab, float multiplier, float base, int32_t allowed_length,
                                         int32_t last_n, const char **breakers, size_t n_breakers) noexcept {
    llama_sampler *made = nullptr;
    sampler_guard([&] {
        made = llama_sampler_init_dry(vocab, multiplier, base, allowed_length, last_n, breakers, n_breakers);
    });
    return made;
}

/* False: out of memory. The chain owns what it is given; NULL adds nothing and is false as well. */
static inline bool sampler_add(llama_sampler *chain, llama_sampler *part) noexcept {
    return part != nullptr && sampler_guard([&] { llama_sampler_chain_add(chain, part); });
}

#endif
