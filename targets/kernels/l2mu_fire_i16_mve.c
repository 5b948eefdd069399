/* For processors with Helium (Armv8.1-M, integer MVE): eight neurons in a vector. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_kernels.h"

#define LANES 8U
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define SATURATE "    vqshl.s16 q0, q0, #16-" TEXT(L2MU_NARROW_BITS) "\n"
#define UNSCALE "    vshr.s16 q0, q0, #16-" TEXT(L2MU_NARROW_BITS) "\n"

/* q0 times its decays, rounded down; q0 + q0 (decay - 1), for decay - 1 is an int16 in Q15. All have one,
 * or %[beta] points to one for each: then 2^16 times it is 2^16 `whole` + `part`, an int16 too. */
#define ONE_DECAY "    vqdmlah.s16 q0, q0, %[beta]\n"
#define OWN_DECAY                         \
    "    vld20.16 {q4, q5}, [%[beta]]\n"  \
    "    vld21.16 {q4, q5}, [%[beta]]!\n" \
    "    vmulh.s16 q2, q0, q4\n"          \
    "    vshl.i16 q5, q5, #15\n"          \
    "    vorr   q5, q5, q4\n"             \
    "    vshr.s16 q5, q5, #15\n"          \
    "    vand   q5, q5, q0\n"             \
    "    vadd.i16 q0, q2, q5\n"

/* What a spike does to its lane of q0. */
#define SUBTRACT "    vpst\n    vsubt.i16 q0, q0, q1\n"
#define ZERO "    vpst\n    veort  q0, q0, q0\n"
#define NONE

/* Eight neurons at a time: q0 is their membranes, q1 their thresholds. A lane has two bits in `fired`;
 * `first` is twice the number of the first neuron. */
#define LOOP(decay, reset)                     \
    "    dls    lr, %[vectors]\n"              \
    "1:  vldrh.u16 q0, [%[at]]\n"              \
    "    vldrh.u16 q1, [%[threshold]], #16\n"  \
    SATURATE UNSCALE                           \
    "    vcmp.s16 gt, q0, q1\n"                \
    decay                                      \
    "    vmrs   %[fired], p0\n"                \
    "    cbnz   %[fired], 3f\n"                \
    "2:  vstrh.16 q0, [%[at]], #16\n"          \
    "    le     lr, 1b\n"                      \
    "    b      5f\n"                          \
    "3:  sub    %[first], %[at], %[v]\n"       \
    "4:  rbit   %[index], %[fired]\n"          \
    "    clz    %[index], %[index]\n"          \
    "    lsl    %[lane], %[both], %[index]\n"  \
    "    bics   %[fired], %[fired], %[lane]\n" \
    "    add    %[index], %[index], %[first]\n" \
    "    lsr    %[index], %[index], #1\n"      \
    "    strh   %[index], [%[next]], #2\n"     \
    "    bne    4b\n"                          \
    reset                                      \
    "    b      2b\n"                          \
    "5:\n"

#define OUTPUTS                                                                        \
    [at] "+&r"(at), [threshold] "+&r"(threshold), [next] "+&r"(next), [fired] "=&l"(fired), \
        [first] "=&r"(first), [index] "=&r"(index), [lane] "=&r"(lane)
#define INPUTS [vectors] "r"((p->size + (LANES - 1U)) / LANES), [v] "r"(v), [both] "r"(3)
#define CHANGED "q0", "q1", "q2", "q4", "q5", "lr", "cc", "memory"

/* Functions (parameters, membranes, where spikes go): where the next spike would go. */
#define LOOPS(name, reset)                                                                   \
    static uint16_t *name##_one(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)   \
    {                                                                                        \
        const int16_t *threshold = p->threshold;                                             \
        const int32_t beta = *p->beta;                                                       \
        int16_t *at = v;                                                                     \
        uint16_t *next = spikes;                                                             \
        uint32_t fired;                                                                      \
        uint32_t first;                                                                      \
        uint32_t index;                                                                      \
        uint32_t lane;                                                                       \
        __asm__ volatile(LOOP(ONE_DECAY, reset)                                               \
                         : OUTPUTS                                                           \
                         : INPUTS, [beta] "r"((beta / 2) - 0x8000)                            \
                         : CHANGED);                                                         \
        return next;                                                                         \
    }                                                                                        \
    static uint16_t *name##_own(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)   \
    {                                                                                        \
        const int16_t *threshold = p->threshold;                                             \
        const int32_t *beta = p->beta;                                                       \
        int16_t *at = v;                                                                     \
        uint16_t *next = spikes;                                                             \
        uint32_t fired;                                                                      \
        uint32_t first;                                                                      \
        uint32_t index;                                                                      \
        uint32_t lane;                                                                       \
        __asm__ volatile(LOOP(OWN_DECAY, reset)                                              \
                         : OUTPUTS, [beta] "+&r"(beta)                                        \
                         : INPUTS                                                            \
                         : CHANGED);                                                         \
        return next;                                                                         \
    }

LOOPS(subtract, SUBTRACT)
LOOPS(zero, ZERO)
LOOPS(none, NONE)

static void finish(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes, const uint16_t *next)
{
    const int16_t *const bias = p->bias;
    spikes[0] = (uint16_t)(next - spikes - 1);
    if (bias != NULL) {
        const size_t size = p->size;
        for (size_t j = 0; j < size; j += LANES) {
            vstrhq_s16(&v[j], vaddq_s16(vldrhq_s16(&v[j]), vldrhq_s16(&bias[j])));
        }
    }
}

void l2mu_fire_subtract_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const uint16_t *const next =
        (p->beta_step == 0U) ? subtract_one(p, v, &spikes[1]) : subtract_own(p, v, &spikes[1]);
    finish(p, v, spikes, next);
}

void l2mu_fire_zero_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const uint16_t *const next =
        (p->beta_step == 0U) ? zero_one(p, v, &spikes[1]) : zero_own(p, v, &spikes[1]);
    finish(p, v, spikes, next);
}

void l2mu_fire_none_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const uint16_t *const next =
        (p->beta_step == 0U) ? none_one(p, v, &spikes[1]) : none_own(p, v, &spikes[1]);
    finish(p, v, spikes, next);
}
