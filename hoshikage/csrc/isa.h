/* The bodies compiled from scan_body.h, one per instruction set, and the one in use. */
#ifndef HOSHIKAGE_ISA_H
#define HOSHIKAGE_ISA_H

#include "scan.h"

typedef struct isa_body {
    const char *name;
    void (*scan)(const float *row, int32_t n_vocab, scan_record *out);
    int32_t (*noisy_best)(const float *row, int32_t n_vocab, double temperature, uint64_t key);
} isa_body;

const isa_body *isa_current(void);

#endif
