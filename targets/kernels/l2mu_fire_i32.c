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

void l2mu_fire_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], low, high);
        int32_t decayed = l2mu_decay(*beta, membrane);
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
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], low, high);
        int32_t decayed = l2mu_decay(*beta, membrane);
        if (membrane > *threshold) {
            decayed = 0;
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t beta_step = p->beta_step;
    const size_t threshold_step = p->threshold_step;
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t membrane = l2mu_clip(v[j], low, high);
        const int32_t decayed = l2mu_decay(*beta, membrane);
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
        beta += beta_step;
        threshold += threshold_step;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_leak_i32(const l2mu_neurons_i32_t *p, int32_t *v)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t beta_step = p->beta_step;
    const int32_t *beta = p->beta;
    for (size_t j = 0; j < size; ++j) {
        v[j] = l2mu_decay(*beta, l2mu_clip(v[j], low, high));
        beta += beta_step;
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
