#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_fire_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const int32_t *threshold = p->threshold;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t size = p->size;
    const size_t step = p->threshold_step;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], low, high);
        v[j] = membrane;
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        threshold += step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_saturate_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t size = p->size;
    for (size_t j = 0; j < size; ++j) {
        v[j] = l2mu_clip(v[j], low, high);
    }
}
