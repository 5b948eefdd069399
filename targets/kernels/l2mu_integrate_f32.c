#include "l2mu_kernels.h"

static void add(float *v, const float *syn, size_t size)
{
    for (size_t j = 0; j < size; ++j) {
        v[j] += syn[j];
    }
}

void l2mu_integrate_subtract_f32(const l2mu_neurons_f32_t *p, float *v, const float *syn)
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
    add(v, syn, p->size);
}

void l2mu_integrate_zero_f32(const l2mu_neurons_f32_t *p, float *v, const float *syn)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = (v[j] > *threshold) ? 0.0f : (*beta * v[j]);
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    add(v, syn, p->size);
}

void l2mu_integrate_clamp_f32(const l2mu_neurons_f32_t *p, float *v, const float *syn)
{
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        const float decayed = *beta * v[j];
        v[j] = (v[j] > *threshold) ? 0.0f : (decayed + syn[j]);
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
}

void l2mu_integrate_none_f32(const l2mu_neurons_f32_t *p, float *v, const float *syn)
{
    const float *beta = p->beta;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = *beta * v[j];
        beta += p->beta_step;
    }
    add(v, syn, p->size);
}
