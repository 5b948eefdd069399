/* For Armv7-A with NEON: 32 neurons at a time. */
#if defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for Armv7-A with NEON; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <stdbool.h>

#include "l2mu_kernels.h"

#define HIGH ((1 << (L2MU_NARROW_BITS - 1)) - 1)
#define LOW (-HIGH - 1)

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Where a group of neurons is, and where the next spike goes. */
typedef struct {
    int16_t *v;
    const int16_t *threshold;
    const int32_t *beta;
    size_t beta_step;
    uint16_t *next;
} place_t;

/* Assembly of a loop over 32 neurons at a time: q0 to q3 are their membranes, q8 to q11 thresholds, then
 * ones where neurons spike. q12 and q13 are the limits of membranes, q15 a bit for each of eight neurons.
 *
 * q14 is beta / 2, or 32768 where every neuron has a beta of its own: (2 v (beta - 32768) / 65536 + v) / 2,
 * both rounded down, is v beta / 65536 rounded down; v is added once more if beta is 65536. */
#define ONE_DECAY(v) "    vqdmulh.s16 " v ", " v ", q14\n"
#define ONE_DECAYS ONE_DECAY("q0") ONE_DECAY("q1") ONE_DECAY("q2") ONE_DECAY("q3")
#define OWN_DECAY(v)                        \
    "    vldmia  %[beta]!, {d8-d11}\n"       \
    "    vuzp.16 q4, q5\n"                   \
    "    veor    q4, q4, q14\n"              \
    "    vmul.i16 q5, q5, " v "\n"           \
    "    vqdmulh.s16 q4, " v ", q4\n"        \
    "    vhadd.s16 " v ", q4, " v "\n"       \
    "    vadd.i16 " v ", " v ", q5\n"
#define OWN_DECAYS OWN_DECAY("q0") OWN_DECAY("q1") OWN_DECAY("q2") OWN_DECAY("q3")

/* What spikes do; the thresholds are in q4 to q7. */
#define SUBTRACT_THRESHOLDS                \
    "    vldmdb  %[threshold]!, {d8-d15}\n"  \
    "    add     %[threshold], %[threshold], #64\n" \
    "    vmla.i16 q0, q8, q4\n"              \
    "    vmla.i16 q1, q9, q5\n"              \
    "    vmla.i16 q2, q10, q6\n"             \
    "    vmla.i16 q3, q11, q7\n"
#define BECOME_ZERO                 \
    "    vbic    q0, q0, q8\n"        \
    "    vbic    q1, q1, q9\n"        \
    "    vbic    q2, q2, q10\n"       \
    "    vbic    q3, q3, q11\n"
#define STAY

#define LIMIT(v)                       \
    "    vmin.s16 " v ", " v ", q12\n"   \
    "    vmax.s16 " v ", " v ", q13\n"

#define LOOP(decays, reset)                                          \
    "    vmov.i16 q13, #(0x10000 - (1 << (" TEXT(L2MU_NARROW_BITS) " - 1)))\n"  \
    "    vmvn    q12, q13\n"                                           \
    "    vdup.16 q14, %[first]\n"                                      \
    "    mov     %[first], #0\n"                                       \
    "    vmov    d30, %[bits], %[high_bits]\n"                            \
    "    vmov    d31, d30\n"                                           \
    "1:  vldmia  %[v], {d0-d7}\n"                                      \
    "    vldmia  %[threshold]!, {d16-d23}\n"                           \
    LIMIT("q0") LIMIT("q1") LIMIT("q2") LIMIT("q3")                    \
    "    vcgt.s16 q8, q0, q8\n"                                        \
    "    vcgt.s16 q9, q1, q9\n"                                        \
    "    vcgt.s16 q10, q2, q10\n"                                      \
    "    vcgt.s16 q11, q3, q11\n"                                      \
    "    vmovn.i16 d8, q8\n"                                           \
    "    vmovn.i16 d9, q9\n"                                           \
    "    vmovn.i16 d10, q10\n"                                         \
    "    vmovn.i16 d11, q11\n"                                         \
    "    vand    q4, q4, q15\n"                                        \
    "    vand    q5, q5, q15\n"                                        \
    "    vpadd.i8 d8, d8, d9\n"                                        \
    "    vpadd.i8 d10, d10, d11\n"                                     \
    "    vpadd.i8 d8, d8, d10\n"                                       \
    "    vpadd.i8 d8, d8, d8\n"                                        \
    "    vmov.32 %[bits], d8[0]\n" decays                              \
    "    cmp     %[bits], #0\n"                                        \
    "    beq     3f\n" reset                                           \
    "2:  rbit    r12, %[bits]\n"                                 \
    "    clz     r12, r12\n"                               \
    "    add     r12, r12, %[first]\n"                     \
    "    strh    r12, [%[next]], #2\n"                           \
    "    sub     r12, %[bits], #1\n"                             \
    "    ands    %[bits], %[bits], r12\n"                        \
    "    bne     2b\n"                                                 \
    "3:  vstmia  %[v]!, {d0-d7}\n"                                     \
    "    add     %[first], %[first], #32\n"                            \
    "    cmp     %[v], %[end]\n"                                       \
    "    bne     1b\n"

/* Functions (place, end of the neurons): the place behind them. */
#define FIRE(name, decays, reset)                                                                 \
    static inline place_t name(place_t at, const int16_t *end)                                    \
    {                                                                                             \
        uint32_t first = (at.beta_step != 0U) ? 32768U : ((uint32_t)*at.beta / 2U);           \
        uint32_t bits = 0x08040201U;                                                              \
        __asm__ volatile(LOOP(decays, reset)                                                      \
                         : [v] "+&r"(at.v), [threshold] "+&r"(at.threshold), [beta] "+&r"(at.beta),  \
                           [next] "+&r"(at.next), [bits] "+&r"(bits), [first] "+&r"(first)           \
                         : [end] "r"(end), [high_bits] "r"(0x80402010U)                           \
                         : "cc", "memory", "r12", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", \
                           "q8", "q9", "q10", "q11", "q12", "q13", "q14", "q15");                 \
        return at;                                                                                \
    }

FIRE(subtract_one, ONE_DECAYS, SUBTRACT_THRESHOLDS)
FIRE(subtract_own, OWN_DECAYS, SUBTRACT_THRESHOLDS)
FIRE(zero_one, ONE_DECAYS, BECOME_ZERO)
FIRE(zero_own, OWN_DECAYS, BECOME_ZERO)
FIRE(none_one, ONE_DECAYS, STAY)
FIRE(none_own, OWN_DECAYS, STAY)

typedef place_t fire_t(place_t at, const int16_t *end);

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable)")
#else
#define ONE_BY_ONE
#endif

static inline int16x4_t decayed(int16x4_t v, const int32_t *beta, size_t stride)
{
    const int32x4_t decays = (stride != 0U) ? vld1q_s32(beta) : vld1q_dup_s32(beta);
    return vshrn_n_s32(vmulq_s32(vmovl_s16(v), decays), 16);
}

/* One bit for each of eight neurons. */
static inline uint32_t bits_of(uint16x8_t spiking)
{
    const uint8x8_t bit = vcreate_u8(0x8040201008040201U);
    uint8x8_t sums = vand_u8(vmovn_u16(spiking), bit);
    sums = vpadd_u8(sums, sums);
    sums = vpadd_u8(sums, sums);
    return vget_lane_u8(vpadd_u8(sums, sums), 0);
}

/* Eight neurons, whatever their decays; `begin` is the first of the population. */
static inline place_t fire_eight(place_t at, const int16_t *begin, bool subtract, bool zero)
{
    const int16x8_t start = vld1q_s16(at.v);
    const int16x8_t threshold = vld1q_s16(at.threshold);
    const int16x8_t v = vmaxq_s16(vminq_s16(start, vdupq_n_s16(HIGH)), vdupq_n_s16(LOW));
    const uint16x8_t spiking = vcgtq_s16(v, threshold);
    int16x8_t left = vcombine_s16(decayed(vget_low_s16(v), at.beta, at.beta_step),
                                  decayed(vget_high_s16(v), &at.beta[4U * at.beta_step], at.beta_step));
    if (subtract) {
        left = vmlaq_s16(left, vreinterpretq_s16_u16(spiking), threshold);
    } else if (zero) {
        left = vbicq_s16(left, vreinterpretq_s16_u16(spiking));
    } else {
        /* A spike does nothing. */
    }
    vst1q_s16(at.v, left);
    ONE_BY_ONE
    for (uint32_t bits = bits_of(spiking); bits != 0U; bits &= bits - 1U) {
        *at.next = (uint16_t)((size_t)(at.v - begin) + (size_t)__builtin_ctz(bits));
        ++at.next;
    }
    at.v += 8;
    at.threshold += 8;
    at.beta += 8U * at.beta_step;
    return at;
}

/* v += bias, eight at a time. */
static inline void add(int16_t *v, const int16_t *bias, const int16_t *end)
{
    ONE_BY_ONE
    while (v != end) {
        vst1q_s16(v, vaddq_s16(vld1q_s16(v), vld1q_s16(bias)));
        v += 8;
        bias += 8;
    }
}

/* A population: by `one` if all its neurons decay alike, by `own` if not. A single decay of 65536 is for
 * neither. */
static inline void fire(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes, fire_t *one,
                        fire_t *own, bool subtract, bool zero)
{
    const size_t groups = (p->size + 7U) / 32U;
    const bool lasting = (p->beta_step == 0U) && (*p->beta == 65536);
    place_t at = {v, p->threshold, p->beta, p->beta_step, &spikes[1]};
    const int16_t *const end = &v[((size_t)p->size + 7U) / 8U * 8U];
    if ((groups > 0U) && !lasting) {
        at = (p->beta_step == 0U) ? one(at, &v[32U * groups]) : own(at, &v[32U * groups]);
    }
    ONE_BY_ONE
    while (at.v != end) {
        at = fire_eight(at, v, subtract, zero);
    }
    spikes[0] = (uint16_t)(at.next - spikes - 1);
    if (p->bias != NULL) {
        add(v, p->bias, end);
    }
}

void l2mu_fire_subtract_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, subtract_one, subtract_own, true, false);
}

void l2mu_fire_zero_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, zero_one, zero_own, false, true);
}

void l2mu_fire_none_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, none_one, none_own, false, false);
}
