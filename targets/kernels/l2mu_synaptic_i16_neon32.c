/* For Armv7-A with NEON: 32 current-based int16 neurons at a time. */
#if defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for Armv7-A with NEON; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <stdbool.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#define HIGH ((1 << (L2MU_NARROW_BITS - 1)) - 1)
#define LOW (-HIGH - 1)

/* Decays of eight neurons in Q16: less a half, and 1 where they are 65536, which is too large. */
typedef struct {
    int16x8_t less_half;
    int16x8_t whole;
} decays_t;

/* Where a group of neurons is, and where the next spike goes. With a `step` of 0 all groups of eight
 * have the same decays, otherwise each its own. */
typedef struct {
    int16_t *v;
    int16_t *syn;
    const int16_t *threshold;
    const int32_t *alpha;
    const int32_t *beta;
    size_t step;
    uint16_t *next;
} place_t;

L2MU_INLINE decays_t one_decay(int32_t decay)
{
    return (decays_t){vdupq_n_s16((int16_t)((decay & 65535) - 32768)), vdupq_n_s16(0)};
}

L2MU_INLINE decays_t decays(const int32_t *decay)
{
    const int16x8_t first = vreinterpretq_s16_s32(vld1q_s32(decay));
    const int16x8_t second = vreinterpretq_s16_s32(vld1q_s32(&decay[4]));
    const int16x8x2_t halves = vuzpq_s16(first, second);
    return (decays_t){veorq_s16(halves.val[0], vdupq_n_s16(INT16_MIN)), halves.val[1]};
}

/* (2 v (decay - 32768) / 65536 + v) / 2, both rounded down, is v decay / 65536 rounded down. */
L2MU_INLINE int16x8_t decayed(int16x8_t v, decays_t decay, bool own)
{
    const int16x8_t product = vhaddq_s16(vqdmulhq_s16(v, decay.less_half), v);
    return own ? vmlaq_s16(product, v, decay.whole) : product;
}

L2MU_INLINE int16x8_t saturated(int16x8_t v)
{
    return vmaxq_s16(vminq_s16(v, vdupq_n_s16(HIGH)), vdupq_n_s16(LOW));
}

/* Membranes a step after v. */
L2MU_INLINE int16x8_t integrated(int16x8_t v, int16x8_t syn, int16x8_t threshold, decays_t beta,
                                 bool own, l2mu_reset_t reset)
{
    const int16x8_t spiked = vreinterpretq_s16_u16(vcgtq_s16(v, threshold));
    int16x8_t left = decayed(v, beta, own);
    if (reset == L2MU_SUBTRACT) {
        left = vmlaq_s16(left, spiked, threshold);
    }
    if (reset == L2MU_ZERO) {
        left = vbicq_s16(left, spiked);
    }
    left = saturated(vaddq_s16(left, syn));
    return (reset == L2MU_CLAMP) ? vbicq_s16(left, spiked) : left;
}

/* The next eight neurons: a bit for each that spikes. */
L2MU_INLINE uint8x8_t integrate_8(place_t *at, decays_t alpha, decays_t beta, bool own,
                                  l2mu_reset_t reset)
{
    const int16x8_t threshold = vld1q_s16(at->threshold);
    const int16x8_t syn = saturated(vld1q_s16(at->syn));
    const int16x8_t v = integrated(vld1q_s16(at->v), syn, threshold,
                                   own ? decays(at->beta) : beta, own, reset);
    vst1q_s16(at->v, v);
    vst1q_s16(at->syn, decayed(syn, own ? decays(at->alpha) : alpha, own));
    at->v += 8;
    at->syn += 8;
    at->threshold += 8;
    at->alpha += at->step;
    at->beta += at->step;
    return vand_u8(vmovn_u16(vcgtq_s16(v, threshold)), vcreate_u8(0x8040201008040201U));
}

/* List neurons, counted from `first`, by their bits. */
L2MU_INLINE uint16_t *list(uint32_t bits, size_t first, uint16_t *next)
{
    while (bits != 0U) {
        *next = (uint16_t)(first + (size_t)__builtin_ctz(bits));
        ++next;
        bits &= bits - 1U;
    }
    return next;
}

L2MU_INLINE uint16_t *integrate_all(place_t at, size_t size, decays_t alpha, decays_t beta, bool own,
                                    l2mu_reset_t reset)
{
    const size_t groups = (size + 7U) / 8U;
    const int16_t *const end = &at.v[8U * groups];
    const int16_t *const middle = &at.v[groups / 4U * 32U];
    size_t first = 0;
    while (at.v != middle) {
        uint8x8_t bits[4];
        for (size_t i = 0; i < 4U; ++i) {
            bits[i] = integrate_8(&at, alpha, beta, own, reset);
        }
        bits[0] = vpadd_u8(vpadd_u8(bits[0], bits[1]), vpadd_u8(bits[2], bits[3]));
        bits[0] = vpadd_u8(bits[0], bits[0]);
        at.next = list(vget_lane_u32(vreinterpret_u32_u8(bits[0]), 0), first, at.next);
        first += 32U;
    }
    while (at.v != end) {
        uint8x8_t bits = integrate_8(&at, alpha, beta, own, reset);
        bits = vpadd_u8(bits, bits);
        bits = vpadd_u8(bits, bits);
        bits = vpadd_u8(bits, bits);
        at.next = list(vget_lane_u8(bits, 0), first, at.next);
        first += 8U;
    }
    return at.next;
}

L2MU_INLINE void fire_synaptic(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                               uint16_t *spikes, l2mu_reset_t reset)
{
    const bool each = p->beta_step != 0U;
    const uint16_t *next;
    place_t at = {NULL, syn, p->threshold, p->alpha, p->beta, each ? 8U : 0U, &spikes[1]};
    int32_t same[16];
    at.v = v;
    if (each || (*p->alpha == 65536) || (*p->beta == 65536)) {
        for (size_t k = 0; k < 8U; ++k) {
            same[k] = *p->alpha;
            same[8U + k] = *p->beta;
        }
        at.alpha = each ? p->alpha : same;
        at.beta = each ? p->beta : &same[8];
        next = integrate_all(at, p->size, one_decay(0), one_decay(0), true, reset);
    } else {
        next = integrate_all(at, p->size, one_decay(*p->alpha), one_decay(*p->beta), false, reset);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    if (p->bias != NULL) {
        for (size_t j = 0; j < p->size; j += 8U) {
            vst1q_s16(&syn[j], vaddq_s16(vld1q_s16(&syn[j]), vld1q_s16(&p->bias[j])));
        }
    }
}

void l2mu_fire_synaptic_subtract_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                            uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_zero_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_NONE);
}
