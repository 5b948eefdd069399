/* For AArch64: 16 neurons at a time. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_kernels.h"

#define INLINE static inline __attribute__((always_inline))

typedef enum { SUBTRACT, ZERO, CLAMP, NONE } reset_t;

/* Four values, or one for all if `step` is 0. */
INLINE float32x4_t load(const float *values, size_t step)
{
    return (step != 0U) ? vld1q_f32(values) : vld1q_dup_f32(values);
}

/* What membranes before become. */
INLINE float32x4_t updated(float32x4_t before, float32x4_t beta, float32x4_t current, float32x4_t threshold,
                           reset_t reset)
{
    const uint32x4_t spiked = vcgtq_f32(before, threshold);
    float32x4_t v = vmulq_f32(beta, before);
    if (reset == SUBTRACT) {
        const uint32x4_t by = vandq_u32(vreinterpretq_u32_f32(threshold), spiked);
        v = vsubq_f32(v, vreinterpretq_f32_u32(by));
    }
    if (reset == ZERO) {
        v = vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), spiked));
    }
    v = vaddq_f32(v, current);
    if (reset == CLAMP) {
        v = vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), spiked));
    }
    return v;
}

/* One bit for each of 16 neurons. */
INLINE uint32_t bits_of(const uint32x4_t spiking[4])
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201U));
    const uint16x8_t low = vmovn_high_u32(vmovn_u32(spiking[0]), spiking[1]);
    const uint16x8_t high = vmovn_high_u32(vmovn_u32(spiking[2]), spiking[3]);
    uint8x16_t sums = vandq_u8(vmovn_high_u16(vmovn_u16(low), high), bit);
    sums = vpaddq_u8(sums, sums);
    sums = vpaddq_u8(sums, sums);
    sums = vpaddq_u8(sums, sums);
    return vgetq_lane_u16(vreinterpretq_u16_u8(sums), 0);
}

/* 16 neurons from number `first` on: where the next spike goes. */
INLINE uint16_t *fire_16(const l2mu_neurons_f32_t *p, float *v, float *syn, size_t first, uint16_t *next,
                         const size_t steps[3], reset_t reset)
{
    uint32x4_t spiking[4];
    for (size_t i = 0; i < 4U; ++i) {
        const size_t j = first + (4U * i);
        const float32x4_t threshold = load(&p->threshold[j * steps[0]], steps[0]);
        const float32x4_t beta = load(&p->beta[j * steps[1]], steps[1]);
        const float32x4_t alpha = load(&p->alpha[j * steps[2]], steps[2]);
        const float32x4_t current = vld1q_f32(&syn[j]);
        const float32x4_t after = updated(vld1q_f32(&v[j]), beta, current, threshold, reset);
        float32x4_t left = vmulq_f32(alpha, current);
        if (p->bias != NULL) {
            left = vaddq_f32(left, vld1q_f32(&p->bias[j]));
        }
        spiking[i] = vcgtq_f32(after, threshold);
        vst1q_f32(&v[j], after);
        vst1q_f32(&syn[j], left);
    }
    for (uint32_t bits = bits_of(spiking); bits != 0U; bits &= bits - 1U) {
        *next = (uint16_t)(first + (size_t)__builtin_ctz(bits));
        ++next;
    }
    return next;
}

INLINE uint16_t *fire_one(const l2mu_neurons_f32_t *p, float *v, float *syn, size_t j, uint16_t *next,
                          reset_t reset)
{
    const float threshold = p->threshold[j * p->threshold_step];
    const float current = syn[j];
    const int spiked = v[j] > threshold;
    float after = p->beta[j * p->beta_step] * v[j];
    float left = p->alpha[j * p->alpha_step] * current;
    if (spiked && (reset == SUBTRACT)) {
        after -= threshold;
    }
    if (spiked && (reset == ZERO)) {
        after = 0.0F;
    }
    after = (spiked && (reset == CLAMP)) ? 0.0F : (after + current);
    if (after > threshold) {
        *next = (uint16_t)j;
        ++next;
    }
    if (p->bias != NULL) {
        left += p->bias[j];
    }
    v[j] = after;
    syn[j] = left;
    return next;
}

INLINE void fire(const l2mu_neurons_f32_t *record, float *v, float *syn, uint16_t *spikes, reset_t reset)
{
    const l2mu_neurons_f32_t p = *record;
    const size_t steps[3] = {p.threshold_step, p.beta_step, p.alpha_step};
    uint16_t *next = spikes + 1;
    size_t j = 0;
    for (; (j + 16U) <= p.size; j += 16U) {
        next = fire_16(&p, v, syn, j, next, steps, reset);
    }
    for (; j < p.size; ++j) {
        next = fire_one(&p, v, syn, j, next, reset);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_synaptic_subtract_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                            uint16_t *spikes)
{
    fire(p, v, syn, spikes, SUBTRACT);
}

void l2mu_fire_synaptic_zero_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes)
{
    fire(p, v, syn, spikes, ZERO);
}

void l2mu_fire_synaptic_clamp_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                         uint16_t *spikes)
{
    fire(p, v, syn, spikes, CLAMP);
}

void l2mu_fire_synaptic_none_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes)
{
    fire(p, v, syn, spikes, NONE);
}
