/* Scans, draws from or cuts one row of LLaDA's vocabulary, for a profiler that counts instructions: <isa> <what>. */
#include "check.h"
#include "noise.h"
#include "scan.h"

#include <string.h>

enum { N_VOCAB = 126464 };

int main(int argc, char **argv) {
    CHECK(argc == 3 && isa_choose(argv[1]) == 0, "usage: count_scan <isa> <scan|draw|top_p|top_k>");
    static float row[N_VOCAB];
    for (int32_t v = 0; v < N_VOCAB; v++)
        row[v] = (float)(2.0 * noise_gumbel(1, (uint32_t)v));
    scan_record record;
    if (strcmp(argv[2], "scan") == 0)
        scan_row(row, N_VOCAB, &record);
    else if (strcmp(argv[2], "draw") == 0)
        scan_noisy_best(row, N_VOCAB, 1.0, 99);
    else if (strcmp(argv[2], "top_p") == 0)
        row_keep(row, N_VOCAB, 1.0, 0.95, 0);
    else
        row_keep(row, N_VOCAB, 1.0, 1.0, 40);
    return 0;
}
