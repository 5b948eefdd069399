#include "l2mu_arith.h"
#include "l2mu_kernels.h"

L2MU_INLINE void fire_synaptic_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                   uint16_t *spikes, l2mu_reset_t reset)
{
    const size_t size = p->size;
    const size_t alpha_stride = p->alpha_step;
    const size_t beta_stride = p->beta_step;
    const size_t threshold_stride = p->threshold_step;
    const float *alpha = p->alpha;
    const float *beta = p->beta;
    const float *threshold = p->threshold;
    uint16_t *next = spikes + 1;
    for (size_t j = 0; j < size; ++j) {
        const float current = syn[j];
        float membrane = *beta * l2mu_before_decay_f32(v[j], *threshold, reset);
        if (v[j] > *threshold) {
            membrane = l2mu_after_spike_f32(membrane, *threshold, reset);
        }
        if ((reset != L2MU_CLAMP) || !(v[j] > *threshold)) {
            membrane += current;
        }
        if (membrane > *threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = membrane;
        syn[j] = *alpha * current;
        alpha = &alpha[alpha_stride];
        beta = &beta[beta_stride];
        threshold = &threshold[threshold_stride];
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_f32(p, syn);
}

void l2mu_fire_synaptic_subtract_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes)
{
    fire_synaptic_f32(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_subtract_first_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                           uint16_t *spikes)
{
    fire_synaptic_f32(p, v, syn, spikes, L2MU_SUBTRACT_FIRST);
}

void l2mu_fire_synaptic_zero_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                 uint16_t *spikes)
{
    fire_synaptic_f32(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                  uint16_t *spikes)
{
    fire_synaptic_f32(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                 uint16_t *spikes)
{
    fire_synaptic_f32(p, v, syn, spikes, L2MU_NONE);
}
