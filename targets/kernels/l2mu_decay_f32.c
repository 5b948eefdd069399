#include "l2mu_kernels.h"

static void add_bias(const l2mu_neurons_f32_t *p, float *v)
{
    if (p->bias != NULL) {
        for (size_t j = 0; j < p->size; ++j) {
            v[j] += p->bias[j];
        }
    }
}

void l2mu_decay_subtract_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        float decayed = *beta * v[j];
        if (v[j] > *threshold) {
            decayed -= *threshold;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    add_bias(p, v);
}

void l2mu_decay_zero_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = (v[j] > *threshold) ? 0.0f : (*beta * v[j]);
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    add_bias(p, v);
}

void l2mu_decay_none_f32(const l2mu_neurons_f32_t *p, float *v)
{
    const float *beta = p->beta;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = *beta * v[j];
        beta += p->beta_step;
    }
    add_bias(p, v);
}

void l2mu_decay_synapse_f32(const l2mu_neurons_f32_t *p, float *syn)
{
    const float *alpha = p->alpha;
    for (size_t j = 0; j < p->size; ++j) {
        syn[j] = *alpha * syn[j];
        alpha += p->alpha_step;
    }
    add_bias(p, syn);
}
