#include "isa.h"

typedef struct isa_choice {
    const isa_body *body;
    int (*supported)(void);
} isa_choice;

extern const isa_body isa_scalar;
static int always(void) { return 1; }

#if defined(__x86_64__)
extern const isa_body isa_avx512, isa_avx2;
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
static const isa_choice choices[] = {{&isa_avx512, has_avx512}, {&isa_avx2, has_avx2}, {&isa_scalar, always}};
#elif defined(__aarch64__)
extern const isa_body isa_neon;
static const isa_choice choices[] = {{&isa_neon, always}, {&isa_scalar, always}};
#else
static const isa_choice choices[] = {{&isa_scalar, always}};
#endif

static const isa_body *current; /* atomic */

/* The first, hence best, of that name, or of any. */
static const isa_body *isa_find(const char *name) {
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if ((name[0] == '\0' || strcmp(name, choices[i].body->name) == 0) && choices[i].supported())
            return choices[i].body;
    return NULL;
}

int isa_choose(const char *forced) {
    const isa_body *found = isa_find(forced != NULL ? forced : "");
    if (found == NULL)
        return -1;
    __atomic_store_n(&current, found, __ATOMIC_RELEASE);
    return 0;
}

const isa_body *isa_current(void) {
    const isa_body *body = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    if (body == NULL) {
        body = isa_find("");
        __atomic_store_n(&current, body, __ATOMIC_RELEASE);
    }
    return body;
}

const char *isa_name(void) {
    return isa_current()->name;
}
