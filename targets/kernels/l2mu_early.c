#include "l2mu_kernels.h"

int l2mu_decided_i32(const int32_t *score, uint16_t classes, const int32_t *margin)
{
    const int best = l2mu_argmax_i32(score, classes);
    int decided = (classes > 1U) ? best : -1;
    for (int j = 0; j < (int)classes; ++j) {
        if ((j != best) && ((score[best] - score[j]) < margin[best])) {
            decided = -1;
        }
    }
    return decided;
}

void l2mu_count_undecided_i32(int32_t *score, uint16_t classes, const int32_t *margin,
                              const uint16_t *spikes)
{
    if ((spikes[0] != 0U) && (l2mu_decided_i32(score, classes, margin) < 0)) {
        l2mu_count_spikes(score, spikes);
    }
}
