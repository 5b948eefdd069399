#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_fire_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = l2mu_clip(v[j], p->low, p->high);
        if (v[j] > *threshold) {
            *next++ = (uint16_t)j;
        }
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_saturate_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = l2mu_clip(v[j], p->low, p->high);
    }
}
