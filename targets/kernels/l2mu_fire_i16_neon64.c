/* For AArch64: 32 int16 neurons at a time. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <stdbool.h>

#include "l2mu_kernels.h"

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable)")
#else
#define ONE_BY_ONE
#endif

#define HIGH ((1 << (L2MU_NARROW_BITS - 1)) - 1)
#define LOW (-HIGH - 1)

typedef enum { SUBTRACT, ZERO, CLAMP, NONE } reset_t;

#define INLINE static inline __attribute__((always_inline))

/* Decays of eight neurons in Q16: less a half, and 1 where they are 65536, which is too large. */
typedef struct {
    int16x8_t less_half;
    int16x8_t whole;
} decays_t;

INLINE decays_t decays(const int32_t *beta)
{
    const int16x8_t first = vreinterpretq_s16_s32(vld1q_s32(beta));
    const int16x8_t second = vreinterpretq_s16_s32(vld1q_s32(&beta[4]));
    const int16x8_t low = vuzp1q_s16(first, second);
    const decays_t both = {veorq_s16(low, vdupq_n_s16(INT16_MIN)), vuzp2q_s16(first, second)};
    return both;
}

/* The same decay, less than 65536, of all eight. */
INLINE decays_t one_decay(int32_t beta)
{
    const decays_t both = {vdupq_n_s16((int16_t)((beta & 65535) - 32768)), vdupq_n_s16(0)};
    return both;
}

/* (2 v (beta - 32768) / 65536 + v) / 2, both rounded down, is v beta / 65536 rounded down. */
INLINE int16x8_t decayed(int16x8_t v, decays_t beta, bool own)
{
    const int16x8_t product = vhaddq_s16(vqdmulhq_s16(v, beta.less_half), v);
    return own ? vmlaq_s16(product, v, beta.whole) : product;
}

INLINE int16x8_t after_spikes(int16x8_t v, uint16x8_t spiking, int16x8_t threshold,
                              reset_t reset)
{
    switch (reset) {
    case SUBTRACT: return vmlaq_s16(v, vreinterpretq_s16_u16(spiking), threshold);
    case ZERO: return vbicq_s16(v, vreinterpretq_s16_u16(spiking));
    default: return v;
    }
}

INLINE int16x8_t saturated(int16x8_t v)
{
    return vmaxq_s16(vminq_s16(v, vdupq_n_s16(HIGH)), vdupq_n_s16(LOW));
}

/* Membranes of current-based neurons a step after v. */
INLINE int16x8_t integrated(int16x8_t v, int16x8_t syn, int16x8_t threshold, decays_t beta, bool own,
                            reset_t reset)
{
    const uint16x8_t spiked = vcgtq_s16(v, threshold);
    const int16x8_t left = decayed(v, beta, own);
    if (reset == CLAMP) {
        return after_spikes(saturated(vaddq_s16(left, syn)), spiked, threshold, ZERO);
    }
    return saturated(vaddq_s16(after_spikes(left, spiked, threshold, reset), syn));
}

/* One bit for each of 32 neurons. */
INLINE uint32_t bits_of(const uint16x8_t spiking[4])
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201U));
    const uint8x16_t first = vmovn_high_u16(vmovn_u16(spiking[0]), spiking[1]);
    const uint8x16_t last = vmovn_high_u16(vmovn_u16(spiking[2]), spiking[3]);
    uint8x16_t sums = vpaddq_u8(vandq_u8(first, bit), vandq_u8(last, bit));
    sums = vpaddq_u8(sums, sums);
    sums = vpaddq_u8(sums, sums);
    return vgetq_lane_u32(vreinterpretq_u32_u8(sums), 0);
}

/* Where one group of neurons is, and where the next spike goes. With a `step` of 0 all groups have the
 * same decays, otherwise each its own. Only current-based neurons have `syn` and `alpha`. */
typedef struct {
    int16_t *v;
    int16_t *syn;
    const int16_t *threshold;
    const int32_t *alpha;
    const int32_t *beta;
    size_t step;
    uint16_t *next;
} place_t;

/* List neurons, counted from `first`, by their bits. */
INLINE uint16_t *list(uint32_t bits, size_t first, uint16_t *next)
{
    while (bits != 0U) {
        *next = (uint16_t)(first + (size_t)__builtin_ctz(bits));
        ++next;
        bits &= bits - 1U;
    }
    return next;
}

INLINE place_t fire_32(place_t at, const int16_t *begin, decays_t one, bool own, reset_t reset)
{
    const int16x8x4_t start = vld1q_s16_x4(at.v);
    const int16x8x4_t threshold = vld1q_s16_x4(at.threshold);
    int16x8x4_t v;
    uint16x8_t spiking[4];
    for (size_t i = 0; i < 4U; ++i) {
        v.val[i] = saturated(start.val[i]);
        spiking[i] = vcgtq_s16(v.val[i], threshold.val[i]);
        v.val[i] = decayed(v.val[i], own ? decays(&at.beta[at.step * i]) : one, own);
    }
    const uint32_t bits = bits_of(spiking);
    if (bits != 0U) {
        for (size_t i = 0; i < 4U; ++i) {
            v.val[i] = after_spikes(v.val[i], spiking[i], threshold.val[i], reset);
        }
        at.next = list(bits, (size_t)(at.v - begin), at.next);
    }
    vst1q_s16_x4(at.v, v);
    at.v += 32;
    at.threshold += 32;
    at.beta += 4U * at.step;
    return at;
}

INLINE place_t fire_8(place_t at, const int16_t *begin, decays_t one, bool own, reset_t reset)
{
    const uint8x8_t bit = vcreate_u8(0x8040201008040201U);
    const int16x8_t v = saturated(vld1q_s16(at.v));
    const int16x8_t threshold = vld1q_s16(at.threshold);
    const uint16x8_t spiking = vcgtq_s16(v, threshold);
    const int16x8_t left = decayed(v, own ? decays(at.beta) : one, own);
    const uint32_t bits = vaddv_u8(vand_u8(vmovn_u16(spiking), bit));
    vst1q_s16(at.v, after_spikes(left, spiking, threshold, reset));
    at.next = list(bits, (size_t)(at.v - begin), at.next);
    at.v += 8;
    at.threshold += 8;
    at.beta += at.step;
    return at;
}

INLINE uint16_t *fire_all(place_t at, size_t size, decays_t one, bool own, reset_t reset)
{
    const int16_t *const begin = at.v;
    const size_t groups = (size + 7U) / 8U;
    const int16_t *const end = &begin[groups * 8U];
    const int16_t *const middle = &begin[groups / 4U * 32U];
    ONE_BY_ONE
    while (at.v != middle) {
        at = fire_32(at, begin, one, own, reset);
    }
    ONE_BY_ONE
    while (at.v != end) {
        at = fire_8(at, begin, one, own, reset);
    }
    return at.next;
}

/* v += bias, eight at a time. */
INLINE void add(int16_t *v, const int16_t *bias, size_t size)
{
    const int16_t *const end = &v[size];
    ONE_BY_ONE
    while (v < end) {
        vst1q_s16(v, vaddq_s16(vld1q_s16(v), vld1q_s16(bias)));
        v += 8;
        bias += 8;
    }
}

INLINE void fire(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes, reset_t reset)
{
    static const int32_t undiminished[8] = {65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536};
    const bool own = (p->beta_step != 0U) || (*p->beta == 65536);
    const int32_t *const beta = (p->beta_step != 0U) ? p->beta : undiminished;
    const place_t at = {v, NULL, p->threshold, NULL, beta, 8U * (size_t)p->beta_step, &spikes[1]};
    const decays_t one = one_decay(*p->beta);
    const uint16_t *const next = own ? fire_all(at, p->size, one, true, reset)
                                     : fire_all(at, p->size, one, false, reset);
    spikes[0] = (uint16_t)(next - spikes - 1);
    if (p->bias != NULL) {
        add(v, p->bias, p->size);
    }
}

void l2mu_fire_subtract_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, SUBTRACT);
}

void l2mu_fire_zero_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, ZERO);
}

void l2mu_fire_none_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, NONE);
}

INLINE place_t integrate_32(place_t at, const int16_t *begin, decays_t alpha, decays_t beta, bool own,
                            reset_t reset)
{
    const int16x8x4_t start = vld1q_s16_x4(at.v);
    const int16x8x4_t arriving = vld1q_s16_x4(at.syn);
    const int16x8x4_t threshold = vld1q_s16_x4(at.threshold);
    int16x8x4_t v;
    int16x8x4_t syn;
    uint16x8_t spiking[4];
    for (size_t i = 0; i < 4U; ++i) {
        const size_t k = at.step * i;
        const int16x8_t current = saturated(arriving.val[i]);
        v.val[i] = integrated(start.val[i], current, threshold.val[i],
                              own ? decays(&at.beta[k]) : beta, own, reset);
        spiking[i] = vcgtq_s16(v.val[i], threshold.val[i]);
        syn.val[i] = decayed(current, own ? decays(&at.alpha[k]) : alpha, own);
    }
    vst1q_s16_x4(at.v, v);
    vst1q_s16_x4(at.syn, syn);
    at.next = list(bits_of(spiking), (size_t)(at.v - begin), at.next);
    at.v += 32;
    at.syn += 32;
    at.threshold += 32;
    at.alpha += 4U * at.step;
    at.beta += 4U * at.step;
    return at;
}

INLINE place_t integrate_8(place_t at, const int16_t *begin, decays_t alpha, decays_t beta, bool own,
                           reset_t reset)
{
    const uint8x8_t bit = vcreate_u8(0x8040201008040201U);
    const int16x8_t threshold = vld1q_s16(at.threshold);
    const int16x8_t current = saturated(vld1q_s16(at.syn));
    const int16x8_t v = integrated(vld1q_s16(at.v), current, threshold,
                                   own ? decays(at.beta) : beta, own, reset);
    const uint32_t bits = vaddv_u8(vand_u8(vmovn_u16(vcgtq_s16(v, threshold)), bit));
    vst1q_s16(at.v, v);
    vst1q_s16(at.syn, decayed(current, own ? decays(at.alpha) : alpha, own));
    at.next = list(bits, (size_t)(at.v - begin), at.next);
    at.v += 8;
    at.syn += 8;
    at.threshold += 8;
    at.alpha += at.step;
    at.beta += at.step;
    return at;
}

INLINE uint16_t *integrate_all(place_t at, size_t size, decays_t alpha, decays_t beta, bool own,
                               reset_t reset)
{
    const int16_t *const begin = at.v;
    const size_t groups = (size + 7U) / 8U;
    const int16_t *const end = &begin[groups * 8U];
    const int16_t *const middle = &begin[groups / 4U * 32U];
    ONE_BY_ONE
    while (at.v != middle) {
        at = integrate_32(at, begin, alpha, beta, own, reset);
    }
    ONE_BY_ONE
    while (at.v != end) {
        at = integrate_8(at, begin, alpha, beta, own, reset);
    }
    return at.next;
}

INLINE void fire_synaptic(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn, uint16_t *spikes,
                          reset_t reset)
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
        add(syn, p->bias, p->size);
    }
}

void l2mu_fire_synaptic_subtract_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                            uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, SUBTRACT);
}

void l2mu_fire_synaptic_zero_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, ZERO);
}

void l2mu_fire_synaptic_clamp_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, CLAMP);
}

void l2mu_fire_synaptic_none_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, NONE);
}
