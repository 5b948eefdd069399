#include "l2mu_kernels.h"

void l2mu_fire_f32(const l2mu_neurons_f32_t *p, const float *v, uint16_t *spikes)
{
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        if (v[j] > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}
