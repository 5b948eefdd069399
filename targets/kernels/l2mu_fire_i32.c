#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_add_bias_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const size_t size = p->size;
    const int32_t *const bias = p->bias;
    if (bias != NULL) {
        for (size_t j = 0; j < size; ++j) {
            v[j] += bias[j];
        }
    }
}

L2MU_INLINE void fire_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes,
                          l2mu_reset_t reset)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t beta_stride = p->beta_step;
    const size_t threshold_stride = p->threshold_step;
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], low, high);
        int32_t decayed = l2mu_decay(*beta, l2mu_before_decay(membrane, *threshold, reset));
        if (membrane > *threshold) {
            decayed = l2mu_after_spike(decayed, *threshold, reset);
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += beta_stride;
        threshold += threshold_stride;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire_i32(p, v, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_subtract_first_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire_i32(p, v, spikes, L2MU_SUBTRACT_FIRST);
}

void l2mu_fire_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire_i32(p, v, spikes, L2MU_ZERO);
}

void l2mu_fire_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire_i32(p, v, spikes, L2MU_NONE);
}

void l2mu_leak_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t beta_stride = p->beta_step;
    const int32_t *beta = p->beta;
    for (size_t j = 0; j < size; ++j) {
        v[j] = l2mu_decay(*beta, l2mu_clip(v[j], low, high));
        beta += beta_stride;
    }
    l2mu_add_bias_i32(p, v);
}

void l2mu_saturate_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    for (size_t j = 0; j < size; ++j) {
        v[j] = l2mu_clip(v[j], low, high);
    }
}
