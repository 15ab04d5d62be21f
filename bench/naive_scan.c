/* The peer of bench_scan.py: the same readings as scan_row, the way one writes them first. Three passes. */
#include <math.h>
#include <stdint.h>

void naive_row(const float *row, int32_t n_vocab, float *out) {
    float best = -INFINITY, second = -INFINITY;
    int32_t token = 0;
    for (int32_t v = 0; v < n_vocab; v++)
        if (row[v] > best) {
            best = row[v];
            token = v;
        }
    double sum = 0.0;
    for (int32_t v = 0; v < n_vocab; v++)
        sum += expf(row[v] - best);
    double entropy = 0.0, log_sum = log(sum), share = 1.0 / sum;
    for (int32_t v = 0; v < n_vocab; v++) {
        float gap = row[v] - best;
        entropy -= expf(gap) * share * (gap - log_sum);
        if (v != token && row[v] > second)
            second = row[v];
    }
    out[0] = best;
    out[1] = second;
    out[2] = (float)log_sum;
    out[3] = (float)entropy;
}
