#include "l2mu_arith.h"
#include "l2mu_kernels.h"

L2MU_INLINE void fire_synaptic_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                   uint16_t *spikes, l2mu_reset_t reset)
{
    const size_t size = p->size;
    const size_t stride = p->beta_step;
    const int32_t *alpha = p->alpha;
    const int32_t *beta = p->beta;
    const int16_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t current = l2mu_narrow(syn[j]);
        const int32_t before = l2mu_before_decay(v[j], *threshold, reset);
        int32_t membrane = l2mu_decay_narrow(*beta, before);
        if (v[j] > *threshold) {
            membrane = l2mu_after_spike(membrane, *threshold, reset);
        }
        if ((reset != L2MU_CLAMP) || !(v[j] > *threshold)) {
            membrane = l2mu_narrow(membrane + current);
        }
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = (int16_t)membrane;
        syn[j] = (int16_t)l2mu_decay_narrow(*alpha, current);
        alpha += stride;
        beta += stride;
        ++threshold;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i16(p, syn);
}

void l2mu_fire_synaptic_subtract_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes)
{
    fire_synaptic_i16(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_subtract_first_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                           uint16_t *spikes)
{
    fire_synaptic_i16(p, v, syn, spikes, L2MU_SUBTRACT_FIRST);
}

void l2mu_fire_synaptic_zero_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                 uint16_t *spikes)
{
    fire_synaptic_i16(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                  uint16_t *spikes)
{
    fire_synaptic_i16(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                 uint16_t *spikes)
{
    fire_synaptic_i16(p, v, syn, spikes, L2MU_NONE);
}
