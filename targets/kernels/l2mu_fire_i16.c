#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_add_bias_i16(const l2mu_neurons_i16_t *p, int16_t *v)
{
    const size_t size = p->size;
    const int16_t *const bias = p->bias;
    if (bias != NULL) {
        for (size_t j = 0; j < size; ++j) {
            v[j] = (int16_t)(v[j] + bias[j]);
        }
    }
}

L2MU_INLINE void fire_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes,
                          l2mu_reset_t reset)
{
    const size_t size = p->size;
    const size_t beta_stride = p->beta_step;
    const int32_t *beta = p->beta;
    const int16_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t membrane = l2mu_narrow(v[j]);
        const int32_t before = l2mu_before_decay(membrane, *threshold, reset);
        int32_t decayed = l2mu_decay_narrow(*beta, before);
        if (membrane > *threshold) {
            decayed = l2mu_after_spike(decayed, *threshold, reset);
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = (int16_t)decayed;
        beta += beta_stride;
        ++threshold;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i16(p, v);
}

void l2mu_fire_subtract_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire_i16(p, v, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_subtract_first_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire_i16(p, v, spikes, L2MU_SUBTRACT_FIRST);
}

void l2mu_fire_zero_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire_i16(p, v, spikes, L2MU_ZERO);
}

void l2mu_fire_none_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire_i16(p, v, spikes, L2MU_NONE);
}
