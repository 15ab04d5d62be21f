#include "isa.h"

#include <string.h>

extern const isa_body isa_scalar;

static const isa_body *current;

static const isa_body *isa_find(const char *name) {
    if (name[0] == '\0' || strcmp(name, isa_scalar.name) == 0)
        return &isa_scalar;
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
        isa_choose(NULL);
        body = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    }
    return body;
}

const char *isa_name(void) {
    return isa_current()->name;
}
