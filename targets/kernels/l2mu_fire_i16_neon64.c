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

/* Decays of eight neurons. If each has its own: in Q16, less a half, and 1 where they are 65536, which is too
 * large. */
typedef struct {
    int16x8_t part;
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

/* The same decay of all eight, less than 65536, in Q15. */
INLINE decays_t one_decay(int32_t beta)
{
    const decays_t both = {vdupq_n_s16((int16_t)(beta / 2)), vdupq_n_s16(0)};
    return both;
}

/* v beta / 65536 rounded down; (2 v (beta - 32768) / 65536 + v) / 2, both rounded down, is the same. */
INLINE int16x8_t decayed(int16x8_t v, decays_t beta, bool own)
{
    const int16x8_t product = vqdmulhq_s16(v, beta.part);
    return own ? vmlaq_s16(vhaddq_s16(product, v), v, beta.whole) : product;
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

/* Four bits for each of sixteen neurons, eight for each of eight. */
INLINE uint64_t bits_of_16(uint16x8_t first, uint16x8_t last)
{
    const uint8x16_t bytes = vuzp1q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(last));
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4)), 0);
}

INLINE uint64_t bits_of_8(uint16x8_t spiking)
{
    return vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(spiking)), 0);
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

/* List neurons, counted from `first`, at least one, by their bits: 2^`each` of them for a neuron. */
INLINE uint16_t *list(uint64_t bits, unsigned each, size_t first, uint16_t *next)
{
    const uint64_t top = UINT64_MAX << (64U - (1U << each));
    uint64_t reversed;
    __asm__("rbit %0, %1" : "=r"(reversed) : "r"(bits));
    ONE_BY_ONE
    do {
        const unsigned place = (unsigned)__builtin_clzll(reversed);
        reversed &= ~(top >> place);
        *next = (uint16_t)(first + (place >> each));
        ++next;
    } while (reversed != 0U);
    return next;
}

INLINE uint16_t *list_32(const uint16x8_t spiking[4], size_t first, uint16_t *next)
{
    for (size_t i = 0; i < 4U; i += 2U) {
        const uint64_t bits = bits_of_16(spiking[i], spiking[i + 1U]);
        next = (bits != 0U) ? list(bits, 2, first + (8U * i), next) : next;
    }
    return next;
}

/* Assembly for 32 neurons at a time that have one decay: v0 to v3 are their membranes, v4 to v7 their
 * thresholds, v16 to v19 those that spike. Most sixteens have no spike among them. */
#define SATURATE_4 \
    SATURATE_1("0") SATURATE_1("1") SATURATE_1("2") SATURATE_1("3")
#define SATURATE_1(v)                               \
    "    smin   v" v ".8h, v" v ".8h, %[high].8h\n" \
    "    smax   v" v ".8h, v" v ".8h, %[low].8h\n"
#define BOUNDED_4

#define COMPARE_1(v, threshold, spiking) \
    "    cmgt   v" spiking ".8h, v" v ".8h, v" threshold ".8h\n"
#define DECAY_1(v) "    sqdmulh v" v ".8h, v" v ".8h, %[beta].8h\n"

/* Four bits for each of sixteen neurons. */
#define BITS_16(bits, sums, first, last)                        \
    "    uzp1   v" sums ".16b, v" first ".16b, v" last ".16b\n" \
    "    shrn   v" sums ".8b, v" sums ".8h, #4\n"               \
    "    fmov   " bits ", d" sums "\n"

#define SUBTRACT_1(v, threshold, spiking) \
    "    mla    v" v ".8h, v" threshold ".8h, v" spiking ".8h\n"
#define ZERO_1(v, threshold, spiking) \
    "    bic    v" v ".16b, v" v ".16b, v" spiking ".16b\n"
#define NONE_1(v, threshold, spiking)

/* List the neurons, counted from `first`, that have bits, at least one. */
#define LIST_16(bits)                                   \
    "    rbit   " bits ", " bits "\n"                   \
    "2:  clz    %[place], " bits "\n"                   \
    "    lsr    %[mask], %[top], %[place]\n"            \
    "    bics   " bits ", " bits ", %[mask]\n"          \
    "    add    %[place], %[first], %[place], lsr #2\n" \
    "    strh   %w[place], [%[next]], #2\n"             \
    "    b.ne   2b\n"

#define FIRST_16                            \
    "    sub    %[first], %[v], %[begin]\n" \
    "    lsr    %[first], %[first], #1\n"
#define LAST_16 FIRST_16 "    add    %[first], %[first], #16\n"

/* Functions (where to start, where to end, decay, where spikes go): where the next spike would go. */
#define FIRE_32(name, saturate, reset)                                                 \
    INLINE uint16_t *name(place_t at, const int16_t *end, decays_t one)                \
    {                                                                                  \
        const int16_t *const begin = at.v;                                             \
        uint64_t bits;                                                                 \
        uint64_t more;                                                                 \
        uint64_t first;                                                                \
        uint64_t place;                                                                \
        uint64_t mask;                                                                 \
        __asm__ volatile(                                                              \
            "1:  ld1    {v0.8h-v3.8h}, [%[v]]\n"                                       \
            "    ld1    {v4.8h-v7.8h}, [%[threshold]], #64\n" saturate                 \
            COMPARE_1("0", "4", "16") COMPARE_1("1", "5", "17")                        \
            COMPARE_1("2", "6", "18") COMPARE_1("3", "7", "19")                        \
            BITS_16("%[bits]", "20", "16", "17") BITS_16("%[more]", "21", "18", "19")  \
            DECAY_1("0") DECAY_1("1") DECAY_1("2") DECAY_1("3")                        \
            "    cbz    %[bits], 3f\n" FIRST_16 LIST_16("%[bits]")                     \
            reset("0", "4", "16") reset("1", "5", "17")                                \
            "3:  cbz    %[more], 3f\n" LAST_16 LIST_16("%[more]")                      \
            reset("2", "6", "18") reset("3", "7", "19")                                \
            "3:  st1    {v0.8h-v3.8h}, [%[v]], #64\n"                                  \
            "    cmp    %[v], %[end]\n"                                                \
            "    b.ne   1b\n"                                                          \
            : [v] "+&r"(at.v), [threshold] "+&r"(at.threshold), [next] "+&r"(at.next), \
              [bits] "=&r"(bits), [more] "=&r"(more), [first] "=&r"(first),            \
              [place] "=&r"(place), [mask] "=&r"(mask)                                 \
            : [begin] "r"(begin), [end] "r"(end), [top] "r"((uint64_t)15 << 60U),      \
              [beta] "w"(one.part), [high] "w"(vdupq_n_s16(HIGH)),                     \
              [low] "w"(vdupq_n_s16(LOW))                                              \
            : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16",   \
              "v17", "v18", "v19", "v20", "v21");                                      \
        return at.next;                                                                \
    }

FIRE_32(subtract_bounded, BOUNDED_4, SUBTRACT_1)
FIRE_32(subtract_saturated, SATURATE_4, SUBTRACT_1)
FIRE_32(zero_bounded, BOUNDED_4, ZERO_1)
FIRE_32(zero_saturated, SATURATE_4, ZERO_1)
FIRE_32(none_bounded, BOUNDED_4, NONE_1)
FIRE_32(none_saturated, SATURATE_4, NONE_1)

typedef uint16_t *fire_32_t(place_t at, const int16_t *end, decays_t one);

/* Each has its own decay. */
INLINE place_t fire_own_32(place_t at, const int16_t *begin, reset_t reset)
{
    const int16x8x4_t start = vld1q_s16_x4(at.v);
    const int16x8x4_t threshold = vld1q_s16_x4(at.threshold);
    int16x8x4_t v;
    uint16x8_t spiking[4];
    for (size_t i = 0; i < 4U; ++i) {
        v.val[i] = saturated(start.val[i]);
        spiking[i] = vcgtq_s16(v.val[i], threshold.val[i]);
        v.val[i] = decayed(v.val[i], decays(&at.beta[at.step * i]), true);
    }
    for (size_t i = 0; i < 4U; i += 2U) {
        const uint64_t bits = bits_of_16(spiking[i], spiking[i + 1U]);
        if (bits != 0U) {
            at.next = list(bits, 2, (size_t)(at.v - begin) + (8U * i), at.next);
            v.val[i] = after_spikes(v.val[i], spiking[i], threshold.val[i], reset);
            v.val[i + 1U] =
                after_spikes(v.val[i + 1U], spiking[i + 1U], threshold.val[i + 1U], reset);
        }
    }
    vst1q_s16_x4(at.v, v);
    at.v += 32;
    at.threshold += 32;
    at.beta += 4U * at.step;
    return at;
}

INLINE place_t fire_8(place_t at, const int16_t *begin, decays_t one, bool own, reset_t reset)
{
    const int16x8_t v = saturated(vld1q_s16(at.v));
    const int16x8_t threshold = vld1q_s16(at.threshold);
    const uint16x8_t spiking = vcgtq_s16(v, threshold);
    const int16x8_t left = decayed(v, own ? decays(at.beta) : one, own);
    const uint64_t bits = bits_of_8(spiking);
    vst1q_s16(at.v, after_spikes(left, spiking, threshold, reset));
    if (bits != 0U) {
        at.next = list(bits, 3, (size_t)(at.v - begin), at.next);
    }
    at.v += 8;
    at.threshold += 8;
    at.beta += at.step;
    return at;
}

INLINE uint16_t *fire_eights(place_t at, const int16_t *begin, const int16_t *end, decays_t one,
                             bool own, reset_t reset)
{
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

INLINE void fire(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes, reset_t reset,
                 fire_32_t *bounded, fire_32_t *unbounded)
{
    static const int32_t undiminished[8] = {65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536};
    const size_t eights = ((size_t)p->size + 7U) / 8U;
    const size_t whole = eights / 4U * 32U;
    const int16_t *const end = &v[8U * eights];
    const decays_t one = one_decay(*p->beta);
    const bool each = p->beta_step != 0U;
    place_t at = {v, NULL, p->threshold, NULL, p->beta, each ? 8U : 0U, &spikes[1]};
    if (each || (*p->beta == 65536)) {
        at.beta = each ? p->beta : undiminished;
        ONE_BY_ONE
        while (at.v != &v[whole]) {
            at = fire_own_32(at, v, reset);
        }
        at.next = fire_eights(at, v, end, one, true, reset);
    } else {
        if (whole != 0U) {
            at.next = (p->bounded != 0U) ? bounded(at, &v[whole], one)
                                         : unbounded(at, &v[whole], one);
            at.v += whole;
            at.threshold += whole;
        }
        at.next = fire_eights(at, v, end, one, false, reset);
    }
    spikes[0] = (uint16_t)(at.next - spikes - 1);
    if (p->bias != NULL) {
        add(v, p->bias, p->size);
    }
}

void l2mu_fire_subtract_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, SUBTRACT, subtract_bounded, subtract_saturated);
}

void l2mu_fire_zero_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, ZERO, zero_bounded, zero_saturated);
}

void l2mu_fire_none_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, NONE, none_bounded, none_saturated);
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
    at.next = list_32(spiking, (size_t)(at.v - begin), at.next);
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
    const int16x8_t threshold = vld1q_s16(at.threshold);
    const int16x8_t current = saturated(vld1q_s16(at.syn));
    const int16x8_t v = integrated(vld1q_s16(at.v), current, threshold,
                                   own ? decays(at.beta) : beta, own, reset);
    const uint64_t bits = bits_of_8(vcgtq_s16(v, threshold));
    vst1q_s16(at.v, v);
    vst1q_s16(at.syn, decayed(current, own ? decays(at.alpha) : alpha, own));
    if (bits != 0U) {
        at.next = list(bits, 3, (size_t)(at.v - begin), at.next);
    }
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
