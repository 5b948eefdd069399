#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_integrate_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        int32_t decayed = l2mu_decay(*beta, v[j]);
        if (v[j] > *threshold) {
            decayed -= *threshold;
        }
        syn[j] = l2mu_clip(syn[j], p->low, p->high);
        v[j] = decayed + syn[j];
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
}

void l2mu_integrate_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        syn[j] = l2mu_clip(syn[j], p->low, p->high);
        v[j] = ((v[j] > *threshold) ? 0 : l2mu_decay(*beta, v[j])) + syn[j];
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
}

void l2mu_integrate_clamp_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        syn[j] = l2mu_clip(syn[j], p->low, p->high);
        v[j] = (v[j] > *threshold) ? 0 : (l2mu_decay(*beta, v[j]) + syn[j]);
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
}

void l2mu_integrate_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn)
{
    const int32_t *beta = p->beta;
    for (size_t j = 0; j < p->size; ++j) {
        syn[j] = l2mu_clip(syn[j], p->low, p->high);
        v[j] = l2mu_decay(*beta, v[j]) + syn[j];
        beta += p->beta_step;
    }
}
