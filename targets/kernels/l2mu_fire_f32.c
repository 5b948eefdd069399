#include "l2mu_kernels.h"

void l2mu_add_bias_f32(const l2mu_neurons_f32_t *p, float *v)
{
    if (p->bias != NULL) {
        for (size_t j = 0; j < p->size; ++j) {
            v[j] += p->bias[j];
        }
    }
}

void l2mu_fire_subtract_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        const float membrane = v[j];
        float decayed = *beta * membrane;
        if (membrane > *threshold) {
            decayed -= *threshold;
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_fire_zero_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        const float membrane = v[j];
        float decayed = *beta * membrane;
        if (membrane > *threshold) {
            decayed = 0.0f;
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_fire_none_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        const float membrane = v[j];
        const float decayed = *beta * membrane;
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_leak_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const float *beta = p->beta;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = *beta * v[j];
        beta += p->beta_step;
    }
    l2mu_add_bias_f32(p, v);
}
