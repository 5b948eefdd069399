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
#define SATURATE(v)                                                \
    "    vqshl.s16 " v ", " v ", #16-" TEXT(L2MU_NARROW_BITS) "\n" \
    "    vshr.s16 " v ", " v ", #16-" TEXT(L2MU_NARROW_BITS) "\n"
#define BOUNDED(v)
#define COMPARE(v, t, fired)          \
    "    vcmp.s16 gt, " v ", " t "\n" \
    "    vmrs   " fired ", p0\n"
#define SUBTRACT(v, t) "    vpst\n    vsubt.i16 " v ", " v ", " t "\n"
#define ZERO(v, t) "    vpst\n    veort  " v ", " v ", " v "\n"
#define NONE(v, t)

/* v times its decays, rounded down; v + v (decay - 1), for decay - 1 is an int16 in Q15. All have one, or
 * %[beta] points to one for each: then 2^16 times it is 2^16 `whole` + `part`, an int16 too. */
#define ONE_DECAY(v) "    vqdmlah.s16 " v ", " v ", %[beta]\n"
#define OWN_DECAY(v)                      \
    "    vld20.16 {q2, q3}, [%[beta]]\n"  \
    "    vld21.16 {q2, q3}, [%[beta]]!\n" \
    "    vshl.i16 q3, q3, #15\n"          \
    "    vorr   q3, q3, q2\n"             \
    "    vshr.s16 q3, q3, #15\n"          \
    "    vand   q3, q3, " v "\n"          \
    "    vmulh.s16 q2, " v ", q2\n"       \
    "    vadd.i16 " v ", q2, q3\n"

/* List the neurons that `fired`, at least one; those at %[at] are the first of them. A lane has two bits
 * there. */
#define LIST                                            \
    "    sub    %[first], %[at], %[v]\n"                \
    "    rbit   %[fired], %[fired]\n"                   \
    "    lsr    %[first], %[first], #1\n"               \
    "3:  clz    %[index], %[fired]\n"                   \
    "    lsr    %[lane], %[both], %[index]\n"           \
    "    bics   %[fired], %[fired], %[lane]\n"          \
    "    add    %[index], %[first], %[index], lsr #1\n" \
    "    strh   %[index], [%[next]], #2\n"              \
    "    bne    3b\n"

/* Sixteen neurons at a time, which have one decay; most have no spike among them. */
#define PAIRS(saturate, reset)                          \
    "1:  vldmia %[at], {d0-d3}\n"                       \
    "    vldmia %[threshold]!, {d4-d7}\n"               \
    saturate("q0") saturate("q1")                       \
    COMPARE("q0", "q2", "%[fired]")                     \
    COMPARE("q1", "q3", "%[lane]")                      \
    ONE_DECAY("q0") ONE_DECAY("q1")                     \
    "    orrs   %[fired], %[fired], %[lane], lsl #16\n" \
    "    bne    2f\n"                                   \
    "    vstmia %[at]!, {d0-d3}\n"                      \
    "    le     lr, 1b\n"                               \
    "    b      4f\n"                                   \
    "2:\n" reset("q1", "q3")                            \
    "    vmsr   p0, %[fired]\n" reset("q0", "q2") LIST  \
    "    vstmia %[at]!, {d0-d3}\n"                      \
    "    le     lr, 1b\n"                               \
    "4:\n"

/* Eight at a time. */
#define SINGLES(decay, reset)                          \
    "1:  vldrh.u16 q0, [%[at]]\n"                      \
    "    vldrh.u16 q1, [%[threshold]], #16\n"          \
    SATURATE("q0") COMPARE("q0", "q1", "%[fired]")     \
    decay("q0")                                        \
    "    cbz    %[fired], 2f\n" reset("q0", "q1") LIST \
    "2:  vstrh.16 q0, [%[at]], #16\n"                  \
    "    le     lr, 1b\n"

/* Where the next neurons are, and where the next spike goes. */
typedef struct {
    int16_t *v;
    const int16_t *threshold;
    uint16_t *next;
} place_t;

/* A decay minus 1, in Q15. */
static inline int32_t less_one(int32_t decay)
{
    return (int32_t)((uint32_t)decay / 2U) - 0x8000;
}

static inline uint32_t eights_of(const l2mu_neurons_i16_t *p)
{
    return (p->size + (LANES - 1U)) / LANES;
}

static inline void finish(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes, const uint16_t *next)
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

/* Functions (where to begin, number of groups, at least one, decays, the first membrane): where that ends. */
#define LOOP(name, decay_type, loop)                                                            \
    static inline place_t name(place_t to, uint32_t groups, decay_type decay, const int16_t *v) \
    {                                                                                           \
        decay_type beta = decay;                                                                \
        uint32_t fired;                                                                         \
        uint32_t first;                                                                         \
        uint32_t index = groups;                                                                \
        uint32_t lane;                                                                          \
        __asm__ volatile("    dls    lr, %[index]\n" loop                                       \
                         : [at] "+&r"(to.v), [threshold] "+&r"(to.threshold),                   \
                           [next] "+&r"(to.next), [beta] "+&r"(beta), [fired] "=&l"(fired),     \
                           [first] "=&r"(first), [index] "+&r"(index), [lane] "=&r"(lane)       \
                         : [v] "r"(v), [both] "r"(0xC0000000U)                                  \
                         : "q0", "q1", "q2", "q3", "lr", "cc", "memory");                       \
        return to;                                                                              \
    }

#define FIRE(name, reset)                                                                      \
    LOOP(name##_bounded, int32_t, PAIRS(BOUNDED, reset))                                       \
    LOOP(name##_saturated, int32_t, PAIRS(SATURATE, reset))                                    \
    LOOP(name##_eights, int32_t, SINGLES(ONE_DECAY, reset))                                    \
    LOOP(name##_own, const int32_t *, SINGLES(OWN_DECAY, reset))                               \
    static __attribute__((noinline)) void name##_each(const l2mu_neurons_i16_t *p, int16_t *v, \
                                                      uint16_t *spikes)                        \
    {                                                                                          \
        const place_t to = {v, p->threshold, &spikes[1]};                                      \
        finish(p, v, spikes, name##_own(to, eights_of(p), p->beta, v).next);                   \
    }                                                                                          \
    static inline void name(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)         \
    {                                                                                          \
        place_t to = {v, p->threshold, &spikes[1]};                                            \
        const uint32_t eights = eights_of(p);                                                  \
        const int32_t decay = less_one(*p->beta);                                              \
        if (p->beta_step != 0U) {                                                              \
            name##_each(p, v, spikes);                                                         \
            return;                                                                            \
        }                                                                                      \
        if (eights > 1U) {                                                                     \
            to = (p->bounded != 0U) ? name##_bounded(to, eights / 2U, decay, v)                \
                                    : name##_saturated(to, eights / 2U, decay, v);             \
        }                                                                                      \
        if ((eights % 2U) != 0U) {                                                             \
            to = name##_eights(to, 1, decay, v);                                               \
        }                                                                                      \
        finish(p, v, spikes, to.next);                                                         \
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
