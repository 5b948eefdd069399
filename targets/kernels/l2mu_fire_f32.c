#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_add_bias_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const size_t size = p->size;
    const float *const bias = p->bias;
    if (bias != NULL) {
        for (size_t j = 0; j < size; ++j) {
            v[j] += bias[j];
        }
    }
}

L2MU_INLINE void fire_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes,
                          l2mu_reset_t reset)
{
    const size_t size = p->size;
    const size_t beta_stride = p->beta_step;
    const size_t threshold_stride = p->threshold_step;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float membrane = v[j];
        float decayed = *beta * l2mu_before_decay_f32(membrane, *threshold, reset);
        if (membrane > *threshold) {
            decayed = l2mu_after_spike_f32(decayed, *threshold, reset);
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta = &beta[beta_stride];
        threshold = &threshold[threshold_stride];
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_fire_subtract_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire_f32(p, v, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_subtract_first_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire_f32(p, v, spikes, L2MU_SUBTRACT_FIRST);
}

void l2mu_fire_zero_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire_f32(p, v, spikes, L2MU_ZERO);
}

void l2mu_fire_none_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire_f32(p, v, spikes, L2MU_NONE);
}

void l2mu_leak_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const size_t size = p->size;
    const size_t beta_stride = p->beta_step;
    const float *beta = p->beta;
    for (size_t j = 0; j < size; ++j) {
        v[j] = *beta * v[j];
        beta = &beta[beta_stride];
    }
    l2mu_add_bias_f32(p, v);
}
