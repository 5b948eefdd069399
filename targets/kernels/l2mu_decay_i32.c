#include "l2mu_arith.h"
#include "l2mu_kernels.h"

static void add_bias(const l2mu_neurons_i32_t *p, int32_t *v)
{
    if (p->bias != NULL) {
        for (size_t j = 0; j < p->size; ++j) {
            v[j] += p->bias[j];
        }
    }
}

void l2mu_decay_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        int32_t decayed = l2mu_decay(*beta, v[j]);
        if (v[j] > *threshold) {
            decayed -= *threshold;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    add_bias(p, v);
}

void l2mu_decay_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = (v[j] > *threshold) ? 0 : l2mu_decay(*beta, v[j]);
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    add_bias(p, v);
}

void l2mu_decay_none_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const int32_t *beta = p->beta;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = l2mu_decay(*beta, v[j]);
        beta += p->beta_step;
    }
    add_bias(p, v);
}

void l2mu_decay_synapse_i32(const l2mu_neurons_i32_t *p, int32_t *syn)
{
    const int32_t *alpha = p->alpha;
    for (size_t j = 0; j < p->size; ++j) {
        syn[j] = l2mu_decay(*alpha, syn[j]);
        alpha += p->alpha_step;
    }
    add_bias(p, syn);
}
