/* For AArch64: 16 neurons at a time. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_kernels.h"

#define INLINE static inline __attribute__((always_inline))

typedef enum { SUBTRACT, ZERO, NONE } reset_t;

/* Four values, or one for all if `step` is 0. */
INLINE float32x4_t load(const float *values, size_t step)
{
    return (step != 0U) ? vld1q_f32(values) : vld1q_dup_f32(values);
}

/* What a membrane, decayed, becomes by its spike. */
INLINE float32x4_t after_spikes(float32x4_t v, uint32x4_t spiking, float32x4_t threshold, reset_t reset)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    switch (reset) {
    case SUBTRACT: return vbslq_f32(spiking, vsubq_f32(v, threshold), v);
    case ZERO: return vreinterpretq_f32_u32(vbicq_u32(bits, spiking));
    default: return v;
    }
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
INLINE uint16_t *fire_16(const l2mu_neurons_f32_t *p, float *v, size_t first, uint16_t *next,
                         size_t beta_stride, size_t threshold_stride, reset_t reset)
{
    const float *const threshold = &p->threshold[first * threshold_stride];
    const float *const beta = &p->beta[first * beta_stride];
    float32x4_t decayed[4];
    uint32x4_t spiking[4];
    for (size_t i = 0; i < 4U; ++i) {
        const float32x4_t membrane = vld1q_f32(&v[first + (4U * i)]);
        spiking[i] = vcgtq_f32(membrane, load(&threshold[4U * i * threshold_stride], threshold_stride));
        decayed[i] = vmulq_f32(load(&beta[4U * i * beta_stride], beta_stride), membrane);
    }
    uint32_t bits = bits_of(spiking);
    if (bits != 0U) {
        for (size_t i = 0; i < 4U; ++i) {
            const float32x4_t by = load(&threshold[4U * i * threshold_stride], threshold_stride);
            decayed[i] = after_spikes(decayed[i], spiking[i], by, reset);
        }
    }
    for (size_t i = 0; i < 4U; ++i) {
        vst1q_f32(&v[first + (4U * i)], decayed[i]);
    }
    for (; bits != 0U; bits &= bits - 1U) {
        *next = (uint16_t)(first + (size_t)__builtin_ctz(bits));
        ++next;
    }
    return next;
}

INLINE uint16_t *fire_one(const l2mu_neurons_f32_t *p, float *v, size_t j, uint16_t *next,
                          reset_t reset)
{
    const float threshold = p->threshold[j * p->threshold_step];
    float decayed = p->beta[j * p->beta_step] * v[j];
    if (v[j] > threshold) {
        if (reset == SUBTRACT) {
            decayed -= threshold;
        } else if (reset == ZERO) {
            decayed = 0.0F;
        }
        *next = (uint16_t)j;
        ++next;
    }
    v[j] = decayed;
    return next;
}

INLINE void fire(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes, reset_t reset)
{
    uint16_t *next = spikes + 1;
    size_t j = 0;
    if ((p->beta_step != 0U) && (p->threshold_step != 0U)) {
        for (; (j + 16U) <= p->size; j += 16U) {
            next = fire_16(p, v, j, next, 1U, 1U, reset);
        }
    } else {
        for (; (j + 16U) <= p->size; j += 16U) {
            next = fire_16(p, v, j, next, p->beta_step, p->threshold_step, reset);
        }
    }
    for (; j < p->size; ++j) {
        next = fire_one(p, v, j, next, reset);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    for (j = 0; (p->bias != NULL) && (j < p->size); ++j) {
        v[j] += p->bias[j];
    }
}

void l2mu_fire_subtract_f32_neon64(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, SUBTRACT);
}

void l2mu_fire_zero_f32_neon64(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, ZERO);
}

void l2mu_fire_none_f32_neon64(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, NONE);
}
