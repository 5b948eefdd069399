#include "l2mu_arith.h"
#include "l2mu_kernels.h"

L2MU_INLINE void fire_synaptic_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                   uint16_t *spikes, l2mu_reset_t reset)
{
    const size_t size = p->size;
    const int32_t low = p->low;
    const int32_t high = p->high;
    const size_t alpha_stride = p->alpha_step;
    const size_t beta_stride = p->beta_step;
    const size_t threshold_stride = p->threshold_step;
    const int32_t *alpha = p->alpha;
    const int32_t *beta = p->beta;
    const int32_t *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const int32_t current = l2mu_clip(syn[j], low, high);
        int32_t membrane = l2mu_decay(*beta, l2mu_before_decay(v[j], *threshold, reset));
        if (v[j] > *threshold) {
            membrane = l2mu_after_spike(membrane, *threshold, reset);
        }
        if ((reset != L2MU_CLAMP) || !(v[j] > *threshold)) {
            membrane = l2mu_clip(membrane + current, low, high);
        }
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = membrane;
        syn[j] = l2mu_decay(*alpha, current);
        alpha += alpha_stride;
        beta += beta_stride;
        threshold += threshold_stride;
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, syn);
}

void l2mu_fire_synaptic_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes)
{
    fire_synaptic_i32(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_subtract_first_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                           uint16_t *spikes)
{
    fire_synaptic_i32(p, v, syn, spikes, L2MU_SUBTRACT_FIRST);
}

void l2mu_fire_synaptic_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                 uint16_t *spikes)
{
    fire_synaptic_i32(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                  uint16_t *spikes)
{
    fire_synaptic_i32(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                 uint16_t *spikes)
{
    fire_synaptic_i32(p, v, syn, spikes, L2MU_NONE);
}
