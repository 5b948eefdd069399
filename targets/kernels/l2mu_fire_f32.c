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

void l2mu_fire_subtract_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float membrane = v[j];
        float decayed = *beta * membrane;
        if (membrane > *threshold) {
            decayed -= *threshold;
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_fire_zero_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float membrane = v[j];
        float decayed = *beta * membrane;
        if (membrane > *threshold) {
            decayed = 0.0f;
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_fire_none_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float membrane = v[j];
        const float decayed = *beta * membrane;
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, v);
}

void l2mu_leak_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const size_t size = p->size;
    const size_t beta_step = p->beta_step;
    const float *beta = p->beta;
    for (size_t j = 0; j < size; ++j) {
        v[j] = *beta * v[j];
        beta += beta_step;
    }
    l2mu_add_bias_f32(p, v);
}
