/* For processors with Helium (Armv8.1-M, integer MVE): sixteen neurons, or eight, at a time. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_kernels.h"

#define LANES 8U
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* What is done to membranes v of eight neurons whose thresholds are t. */
#define SATURATE(v)                                            \
    "    vqshl.s16 " v ", " v ", #16-" TEXT(L2MU_NARROW_BITS) "\n" \
    "    vshr.s16 " v ", " v ", #16-" TEXT(L2MU_NARROW_BITS) "\n"
#define BOUNDED(v)
#define COMPARE(v, t, fired)           \
    "    vcmp.s16 gt, " v ", " t "\n" \
    "    vmrs   " fired ", p0\n"
#define SUBTRACT(v, t) "    vpst\n    vsubt.i16 " v ", " v ", " t "\n"
#define ZERO(v, t) "    vpst\n    veort  " v ", " v ", " v "\n"
#define NONE(v, t)

/* v times its decays, rounded down; v + v (decay - 1), for decay - 1 is an int16 in Q15. All have one, or
 * %[beta] points to one for each: then 2^16 times it is 2^16 `whole` + `part`, an int16 too. */
#define ONE_DECAY(v) "    vqdmlah.s16 " v ", " v ", %[beta]\n"
#define OWN_DECAY(v)                      \
    "    vld20.16 {q4, q5}, [%[beta]]\n"  \
    "    vld21.16 {q4, q5}, [%[beta]]!\n" \
    "    vmulh.s16 q3, " v ", q4\n"       \
    "    vshl.i16 q5, q5, #15\n"          \
    "    vorr   q5, q5, q4\n"             \
    "    vshr.s16 q5, q5, #15\n"          \
    "    vand   q5, q5, " v "\n"          \
    "    vadd.i16 " v ", q3, q5\n"

/* List the neurons that `fired`, at least one; those at %[at] are the first of them. A lane has two bits
 * there. */
#define LIST                                       \
    "    sub    %[first], %[at], %[v]\n"           \
    "    rbit   %[fired], %[fired]\n"              \
    "    lsr    %[first], %[first], #1\n"          \
    "3:  clz    %[index], %[fired]\n"              \
    "    lsr    %[lane], %[both], %[index]\n"      \
    "    bics   %[fired], %[fired], %[lane]\n"     \
    "    add    %[index], %[first], %[index], lsr #1\n" \
    "    strh   %[index], [%[next]], #2\n"         \
    "    bne    3b\n"

/* Sixteen neurons at a time, which have one decay; most have no spike among them. */
#define PAIRS(saturate, reset)                              \
    "    dls    lr, %[groups]\n"                            \
    "1:  vldmia %[at], {d0-d3}\n"                           \
    "    vldmia %[threshold]!, {d4-d7}\n"                   \
    saturate("q0") saturate("q1")                           \
    COMPARE("q0", "q2", "%[fired]")                         \
    COMPARE("q1", "q3", "%[lane]")                          \
    ONE_DECAY("q0") ONE_DECAY("q1")                         \
    "    orrs   %[fired], %[fired], %[lane], lsl #16\n"     \
    "    bne    2f\n"                                       \
    "    vstmia %[at]!, {d0-d3}\n"                          \
    "    le     lr, 1b\n"                                   \
    "    b      4f\n"                                       \
    "2:\n" reset("q1", "q3")                                \
    "    vmsr   p0, %[fired]\n" reset("q0", "q2") LIST      \
    "    vstmia %[at]!, {d0-d3}\n"                          \
    "    le     lr, 1b\n"                                   \
    "4:\n"

/* Eight at a time. */
#define SINGLES(decay, reset)                               \
    "    dls    lr, %[groups]\n"                            \
    "1:  vldrh.u16 q0, [%[at]]\n"                           \
    "    vldrh.u16 q2, [%[threshold]], #16\n"               \
    SATURATE("q0") COMPARE("q0", "q2", "%[fired]")          \
    decay("q0")                                             \
    "    cbz    %[fired], 2f\n" reset("q0", "q2") LIST      \
    "2:  vstrh.16 q0, [%[at]], #16\n"                       \
    "    le     lr, 1b\n"

/* Functions (parameters, membranes, number of the first neuron, groups of neurons, at least one, where
 * spikes go): where the next spike would go. */
#define LOOP(name, decay_type, decay, loop)                                                      \
    static inline uint16_t *name(const l2mu_neurons_i16_t *p, int16_t *v, size_t begin,          \
                                 size_t groups, uint16_t *spikes)                                \
    {                                                                                            \
        const int16_t *threshold = &p->threshold[begin];                                         \
        decay_type beta = decay;                                                                 \
        int16_t *at = &v[begin];                                                                 \
        uint16_t *next = spikes;                                                                 \
        uint32_t fired;                                                                          \
        uint32_t first;                                                                          \
        uint32_t index;                                                                          \
        uint32_t lane;                                                                           \
        __asm__ volatile(loop                                                                    \
                         : [at] "+&r"(at), [threshold] "+&r"(threshold), [next] "+&r"(next),      \
                           [beta] "+&r"(beta), [fired] "=&l"(fired), [first] "=&r"(first),       \
                           [index] "=&r"(index), [lane] "=&r"(lane)                              \
                         : [groups] "r"(groups), [v] "r"(v), [both] "r"(0xC0000000U)              \
                         : "q0", "q1", "q2", "q3", "q4", "q5", "lr", "cc", "memory");            \
        return next;                                                                             \
    }

#define FIRE(name, reset)                                                                        \
    LOOP(name##_bounded, int32_t, less_one(*p->beta), PAIRS(BOUNDED, reset))                     \
    LOOP(name##_saturated, int32_t, less_one(*p->beta), PAIRS(SATURATE, reset))                  \
    LOOP(name##_eight, int32_t, less_one(*p->beta), SINGLES(ONE_DECAY, reset))                   \
    LOOP(name##_own, const int32_t *, p->beta, SINGLES(OWN_DECAY, reset))                        \
    static inline void name(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)           \
    {                                                                                            \
        const size_t eights = (p->size + (LANES - 1U)) / LANES;                                  \
        uint16_t *next = &spikes[1];                                                             \
        if (p->beta_step != 0U) {                                                                \
            next = name##_own(p, v, 0, eights, next);                                            \
        } else {                                                                                 \
            const size_t pairs = eights / 2U;                                                    \
            if (pairs != 0U) {                                                                   \
                next = (p->bounded != 0U) ? name##_bounded(p, v, 0, pairs, next)                 \
                                          : name##_saturated(p, v, 0, pairs, next);              \
            }                                                                                    \
            if ((eights % 2U) != 0U) {                                                           \
                next = name##_eight(p, v, 2U * LANES * pairs, 1, next);                          \
            }                                                                                    \
        }                                                                                        \
        spikes[0] = (uint16_t)(next - spikes - 1);                                               \
        add_bias(p, v);                                                                          \
    }

/* A decay minus 1, in Q15. */
static inline int32_t less_one(int32_t decay)
{
    return (decay / 2) - 0x8000;
}

static inline void add_bias(const l2mu_neurons_i16_t *p, int16_t *v)
{
    const int16_t *const bias = p->bias;
    if (bias != NULL) {
        const size_t size = p->size;
        for (size_t j = 0; j < size; j += LANES) {
            vstrhq_s16(&v[j], vaddq_s16(vldrhq_s16(&v[j]), vldrhq_s16(&bias[j])));
        }
    }
}

FIRE(subtract, SUBTRACT)
FIRE(zero, ZERO)
FIRE(none, NONE)

void l2mu_fire_subtract_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    subtract(p, v, spikes);
}

void l2mu_fire_zero_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    zero(p, v, spikes);
}

void l2mu_fire_none_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    none(p, v, spikes);
}
