#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_add_bias_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    if (p->bias != NULL) {
        for (size_t j = 0; j < p->size; ++j) {
            v[j] += p->bias[j];
        }
    }
}

void l2mu_fire_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], p->low, p->high);
        int32_t decayed = l2mu_decay(*beta, membrane);
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
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], p->low, p->high);
        int32_t decayed = l2mu_decay(*beta, membrane);
        if (membrane > *threshold) {
            decayed = 0;
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < p->size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], p->low, p->high);
        const int32_t decayed = l2mu_decay(*beta, membrane);
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += p->beta_step;
        threshold += p->threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_leak_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const int32_t *beta = p->beta;
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = l2mu_decay(*beta, l2mu_clip(v[j], p->low, p->high));
        beta += p->beta_step;
    }
    l2mu_add_bias_i32(p, v);
}

void l2mu_saturate_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    for (size_t j = 0; j < p->size; ++j) {
        v[j] = l2mu_clip(v[j], p->low, p->high);
    }
}
