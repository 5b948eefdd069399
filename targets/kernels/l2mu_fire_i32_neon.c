/* For processors with NEON, 32 and 64 bits: 16 int32 neurons at a time. */
#ifndef __ARM_NEON
#error "this file is for processors with NEON; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <stdbool.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable) vectorize(disable)")
#else
#define ONE_BY_ONE
#endif

#define LANES ((size_t)4)
#define MOST ((size_t)4) /* vectors at a time */
#define GROUP (LANES * MOST)

/* Where the next neurons' parameters are, and how far from those of the ones after. */
typedef struct {
    const int32_t *at;
    size_t step;
} parameters_t;

/* Those of `given`, or of `same`, room for a group, if all neurons have the same one. */
L2MU_INLINE parameters_t parameters(const int32_t *given, size_t step, int32_t *same)
{
    const parameters_t own = {given, 1U};
    const parameters_t equal = {same, 0U};
    if (step != 0U) {
        return own;
    }
    for (size_t i = 0; i < GROUP; i += LANES) {
        vst1q_s32(&same[i], vdupq_n_s32(*given));
    }
    return equal;
}

/* One bit for each of a group's neurons. */
L2MU_INLINE uint32_t bits_of(const uint32x4_t spiking[MOST])
{
    const uint8x8_t bit = vcreate_u8(0x8040201008040201U);
    const uint16x8_t low = vcombine_u16(vmovn_u32(spiking[0]), vmovn_u32(spiking[1]));
    const uint16x8_t high = vcombine_u16(vmovn_u32(spiking[2]), vmovn_u32(spiking[3]));
    uint8x8_t sums = vpadd_u8(vand_u8(vmovn_u16(low), bit), vand_u8(vmovn_u16(high), bit));
    sums = vpadd_u8(sums, sums);
    sums = vpadd_u8(sums, sums);
    return vget_lane_u16(vreinterpret_u16_u8(sums), 0);
}

/* A decay less 1, times 2^31. */
L2MU_INLINE int32x4_t less_one(int32x4_t decay)
{
    return veorq_s32(vshlq_n_s32(decay, 16), vdupq_n_s32(INT32_MIN));
}

/* v + v (decay - 1), rounded down. */
L2MU_INLINE int32x4_t decayed(int32x4_t v, int32x4_t decay_less_one)
{
    return vaddq_s32(v, vqdmulhq_s32(v, decay_less_one));
}

L2MU_INLINE int32x4_t saturated(int32x4_t v, int32x4_t low, int32x4_t high)
{
    return vmaxq_s32(vminq_s32(v, high), low);
}

L2MU_INLINE int32x4_t after_spikes(int32x4_t v, uint32x4_t spiking, int32x4_t threshold,
                                   l2mu_reset_t reset)
{
    const int32x4_t lanes = vreinterpretq_s32_u32(spiking);
    switch (reset) {
    case L2MU_SUBTRACT: return vsubq_s32(v, vandq_s32(lanes, threshold));
    case L2MU_NONE: return v;
    default: return vbicq_s32(v, lanes);
    }
}

/* List the neurons of a group, counted from `first`, by their bits. */
L2MU_INLINE uint16_t *list(uint32_t bits, size_t first, uint16_t *next)
{
    uint16_t *end = next;
    ONE_BY_ONE
    for (uint32_t left = bits; left != 0U; left &= left - 1U) {
        *end = (uint16_t)(first + (size_t)__builtin_ctz(left));
        ++end;
    }
    return end;
}

/* Where the next neurons are, and where the next spike goes. Only current-based ones have `syn` and
 * `alpha`. */
typedef struct {
    int32_t *v;
    int32_t *syn;
    parameters_t alpha;
    parameters_t beta;
    parameters_t threshold;
    uint16_t *next;
    int32x4_t low;
    int32x4_t high;
    int32x4_t less; /* of all decays, unless each neuron has its own */
} place_t;

/* So many vectors of neurons; the first is number `first`. */
L2MU_INLINE void fire_some(place_t *p, size_t vectors, size_t first, bool own, l2mu_reset_t reset)
{
    const uint32x4_t none = vdupq_n_u32(0);
    uint32x4_t spiking[MOST] = {none, none, none, none};
    int32x4_t v[MOST];
    for (size_t i = 0; i < vectors; ++i) {
        const int32x4_t membrane = saturated(vld1q_s32(&p->v[LANES * i]), p->low, p->high);
        const int32x4_t less = own ? less_one(vld1q_s32(&p->beta.at[LANES * i])) : p->less;
        spiking[i] = vcgtq_s32(membrane, vld1q_s32(&p->threshold.at[LANES * i]));
        v[i] = decayed(membrane, less);
    }
    const uint32_t bits = bits_of(spiking);
    if (bits != 0U) {
        for (size_t i = 0; i < vectors; ++i) {
            const int32x4_t threshold = vld1q_s32(&p->threshold.at[LANES * i]);
            v[i] = after_spikes(v[i], spiking[i], threshold, reset);
        }
        p->next = list(bits, first, p->next);
    }
    for (size_t i = 0; i < vectors; ++i) {
        vst1q_s32(&p->v[LANES * i], v[i]);
    }
    p->v += LANES * vectors;
    p->beta.at += LANES * vectors * p->beta.step;
    p->threshold.at += LANES * vectors * p->threshold.step;
}

L2MU_INLINE void fire_one(place_t *p, size_t j, int32_t low, int32_t high, l2mu_reset_t reset)
{
    const int32_t threshold = *p->threshold.at;
    const int32_t membrane = l2mu_clip(*p->v, low, high);
    *p->v = l2mu_decay(*p->beta.at, membrane);
    if (membrane > threshold) {
        *p->v = l2mu_after_spike(*p->v, threshold, reset);
        *p->next = (uint16_t)j;
        ++p->next;
    }
    ++p->v;
    p->beta.at += p->beta.step;
    p->threshold.at += p->threshold.step;
}

L2MU_INLINE uint16_t *fire_all(const l2mu_neurons_i32_t *p, place_t at, bool own,
                               l2mu_reset_t reset)
{
    const size_t size = p->size;
    size_t j = 0;
    ONE_BY_ONE
    for (; (j + GROUP) <= size; j += GROUP) {
        fire_some(&at, MOST, j, own, reset);
    }
    ONE_BY_ONE
    for (; (j + LANES) <= size; j += LANES) {
        fire_some(&at, 1U, j, own, reset);
    }
    ONE_BY_ONE
    for (; j < size; ++j) {
        fire_one(&at, j, p->low, p->high, reset);
    }
    return at.next;
}

L2MU_INLINE void fire(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes, l2mu_reset_t reset)
{
    int32_t same[GROUP];
    place_t at;
    at.v = v;
    at.syn = NULL;
    at.beta.at = p->beta;
    at.beta.step = p->beta_step;
    at.alpha = at.beta;
    at.threshold = parameters(p->threshold, p->threshold_step, same);
    at.next = &spikes[1];
    at.low = vdupq_n_s32(p->low);
    at.high = vdupq_n_s32(p->high);
    at.less = less_one(vdupq_n_s32(*p->beta));
    const uint16_t *const next = (p->beta_step != 0U) ? fire_all(p, at, true, reset)
                                                      : fire_all(p, at, false, reset);
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_subtract_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_zero_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_ZERO);
}

void l2mu_fire_none_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_NONE);
}

/* Membranes of current-based neurons a step after v. */
L2MU_INLINE int32x4_t integrated(const place_t *p, size_t i, int32x4_t current, l2mu_reset_t reset)
{
    const int32x4_t v = vld1q_s32(&p->v[LANES * i]);
    const int32x4_t threshold = vld1q_s32(&p->threshold.at[LANES * i]);
    const int32x4_t left = decayed(v, less_one(vld1q_s32(&p->beta.at[LANES * i])));
    const uint32x4_t spiked = vcgtq_s32(v, threshold);
    if (reset == L2MU_CLAMP) {
        const int32x4_t next = saturated(vaddq_s32(left, current), p->low, p->high);
        return after_spikes(next, spiked, threshold, L2MU_ZERO);
    }
    const int32x4_t after = after_spikes(left, spiked, threshold, reset);
    return saturated(vaddq_s32(after, current), p->low, p->high);
}

L2MU_INLINE void integrate_some(place_t *p, size_t vectors, size_t first, l2mu_reset_t reset)
{
    const uint32x4_t none = vdupq_n_u32(0);
    uint32x4_t spiking[MOST] = {none, none, none, none};
    for (size_t i = 0; i < vectors; ++i) {
        const int32x4_t current = saturated(vld1q_s32(&p->syn[LANES * i]), p->low, p->high);
        const int32x4_t v = integrated(p, i, current, reset);
        spiking[i] = vcgtq_s32(v, vld1q_s32(&p->threshold.at[LANES * i]));
        vst1q_s32(&p->v[LANES * i], v);
        const int32x4_t alpha = less_one(vld1q_s32(&p->alpha.at[LANES * i]));
        vst1q_s32(&p->syn[LANES * i], decayed(current, alpha));
    }
    p->next = list(bits_of(spiking), first, p->next);
    p->v += LANES * vectors;
    p->syn += LANES * vectors;
    p->alpha.at += LANES * vectors * p->alpha.step;
    p->beta.at += LANES * vectors * p->beta.step;
    p->threshold.at += LANES * vectors * p->threshold.step;
}

L2MU_INLINE void integrate_one(place_t *p, size_t j, int32_t low, int32_t high, l2mu_reset_t reset)
{
    const int32_t threshold = *p->threshold.at;
    const int32_t current = l2mu_clip(*p->syn, low, high);
    const bool spiked = *p->v > threshold;
    int32_t v = l2mu_decay(*p->beta.at, *p->v);
    v = spiked ? l2mu_after_spike(v, threshold, reset) : v;
    *p->v = (spiked && (reset == L2MU_CLAMP)) ? 0 : l2mu_clip(v + current, low, high);
    *p->syn = l2mu_decay(*p->alpha.at, current);
    if (*p->v > threshold) {
        *p->next = (uint16_t)j;
        ++p->next;
    }
    ++p->v;
    ++p->syn;
    p->alpha.at += p->alpha.step;
    p->beta.at += p->beta.step;
    p->threshold.at += p->threshold.step;
}

L2MU_INLINE void fire_synaptic(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                               uint16_t *spikes, l2mu_reset_t reset)
{
    const size_t size = p->size;
    int32_t same[3][GROUP];
    place_t at;
    size_t j = 0;
    at.v = v;
    at.syn = syn;
    at.alpha = parameters(p->alpha, p->alpha_step, same[0]);
    at.beta = parameters(p->beta, p->beta_step, same[1]);
    at.threshold = parameters(p->threshold, p->threshold_step, same[2]);
    at.next = &spikes[1];
    at.low = vdupq_n_s32(p->low);
    at.high = vdupq_n_s32(p->high);
    ONE_BY_ONE
    for (; (j + GROUP) <= size; j += GROUP) {
        integrate_some(&at, MOST, j, reset);
    }
    ONE_BY_ONE
    for (; (j + LANES) <= size; j += LANES) {
        integrate_some(&at, 1U, j, reset);
    }
    ONE_BY_ONE
    for (; j < size; ++j) {
        integrate_one(&at, j, p->low, p->high, reset);
    }
    spikes[0] = (uint16_t)(at.next - spikes - 1);
    l2mu_add_bias_i32(p, syn);
}

void l2mu_fire_synaptic_subtract_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                          uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_zero_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                       uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_NONE);
}
