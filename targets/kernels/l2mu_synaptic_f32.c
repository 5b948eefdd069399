#include "l2mu_kernels.h"

void l2mu_fire_synaptic_subtract_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t alpha_step = p->alpha_step;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *alpha = p->alpha;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float current = syn[j];
        float membrane = *beta * v[j];
        if (v[j] > *threshold) {
            membrane -= *threshold;
        }
        membrane += current;
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = membrane;
        syn[j] = *alpha * current;
        alpha += alpha_step;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, syn);
}

void l2mu_fire_synaptic_zero_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                 uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t alpha_step = p->alpha_step;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *alpha = p->alpha;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float current = syn[j];
        float membrane = (v[j] > *threshold) ? 0.0f : (*beta * v[j]);
        membrane += current;
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = membrane;
        syn[j] = *alpha * current;
        alpha += alpha_step;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, syn);
}

void l2mu_fire_synaptic_clamp_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                  uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t alpha_step = p->alpha_step;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *alpha = p->alpha;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float current = syn[j];
        float membrane = 0.0f;
        if (!(v[j] > *threshold)) {
            membrane = (*beta * v[j]) + current;
        }
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = membrane;
        syn[j] = *alpha * current;
        alpha += alpha_step;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, syn);
}

void l2mu_fire_synaptic_none_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                 uint16_t *spikes)
{
    const size_t size = p->size;
    const size_t alpha_step = p->alpha_step;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const float *alpha = p->alpha;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float current = syn[j];
        const float membrane = (*beta * v[j]) + current;
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = membrane;
        syn[j] = *alpha * current;
        alpha += alpha_step;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, syn);
}
