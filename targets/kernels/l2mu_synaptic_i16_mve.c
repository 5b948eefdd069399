/* For processors with Helium (Armv8.1-M, integer MVE): eight current-based neurons in a vector. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_kernels.h"

#define LANES 8U
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define SATURATE(x)                                                \
    "    vqshl.s16 " x ", " x ", #16-" TEXT(L2MU_NARROW_BITS) "\n" \
    "    vshr.s16 " x ", " x ", #16-" TEXT(L2MU_NARROW_BITS) "\n"

/* x times its decays, rounded down; x + x (decay - 1), for decay - 1 is an int16 in Q15. All have one, or
 * there is a pointer to one for each: then 2^16 times it is 2^16 `whole` + `part`, an int16 too. */
#define ONE_DECAY(x, decay) "    vqdmlah.s16 " x ", " x ", " decay "\n"
#define OWN_DECAY(x, decay)                 \
    "    vld20.16 {q4, q5}, [" decay "]\n"  \
    "    vld21.16 {q4, q5}, [" decay "]!\n" \
    "    vmulh.s16 q3, " x ", q4\n"         \
    "    vshl.i16 q5, q5, #15\n"            \
    "    vorr   q5, q5, q4\n"               \
    "    vshr.s16 q5, q5, #15\n"            \
    "    vand   q5, q5, " x "\n"            \
    "    vadd.i16 " x ", q3, q5\n"

/* The next membranes q0 of neurons with synapses q2; where they were above their thresholds q1, these
 * neurons did spike. */
#define SPIKED "    vcmp.s16 gt, q0, q1\n"
#define DECAYED(decay) decay("q0", "%[beta]")
#define PLUS_SYNAPSE "    vadd.i16 q0, q0, q2\n" SATURATE("q0")
#define SUBTRACT(decay) SPIKED DECAYED(decay) "    vpst\n    vsubt.i16 q0, q0, q1\n" PLUS_SYNAPSE
#define ZERO(decay) SPIKED DECAYED(decay) "    vpst\n    veort  q0, q0, q0\n" PLUS_SYNAPSE
#define CLAMP(decay) SPIKED DECAYED(decay) PLUS_SYNAPSE "    vpst\n    veort  q0, q0, q0\n"
#define NONE(decay) DECAYED(decay) PLUS_SYNAPSE

/* Eight neurons at a time. A lane has two bits in `fired`; lr counts vectors down, and `first` is the number
 * of the first neuron. */
#define LOOP(decay, next)                               \
    "    dls    lr, %[vectors]\n"                       \
    "1:  vldrh.u16 q2, [%[syn]]\n"                      \
    "    vldrh.u16 q0, [%[v]]\n"                        \
    "    vldrh.u16 q1, [%[threshold]], #16\n"           \
    SATURATE("q2") next(decay)                          \
    "    vcmp.s16 gt, q0, q1\n"                         \
    "    vstrh.16 q0, [%[v]], #16\n"                    \
    decay("q2", "%[alpha]")                             \
    "    vmrs   %[fired], p0\n"                         \
    "    vstrh.16 q2, [%[syn]], #16\n"                  \
    "    cbnz   %[fired], 3f\n"                         \
    "    le     lr, 1b\n"                               \
    "    b      5f\n"                                   \
    "3:  sub    %[first], %[vectors], lr\n"             \
    "    rbit   %[fired], %[fired]\n"                   \
    "    lsl    %[first], %[first], #3\n"               \
    "4:  clz    %[index], %[fired]\n"                   \
    "    mov    %[lane], #0xC0000000\n"                 \
    "    lsr    %[lane], %[lane], %[index]\n"           \
    "    bics   %[fired], %[fired], %[lane]\n"          \
    "    add    %[index], %[first], %[index], lsr #1\n" \
    "    strh   %[index], [%[next]], #2\n"              \
    "    bne    4b\n"                                   \
    "    le     lr, 1b\n"                               \
    "5:\n"

/* Functions (parameters, membranes, synapses, decays of synapses and of membranes, where spikes go): where
 * the next spike would go. */
#define FIRE(name, decay_type, decay, reset)                                                 \
    static uint16_t *name(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,             \
                          decay_type alpha, decay_type beta, uint16_t *next)                 \
    {                                                                                        \
        const int16_t *threshold = p->threshold;                                             \
        int16_t *membrane = v;                                                               \
        int16_t *synapse = syn;                                                              \
        uint32_t fired;                                                                      \
        uint32_t first;                                                                      \
        uint32_t index;                                                                      \
        uint32_t lane;                                                                       \
        __asm__ volatile(LOOP(decay, reset)                                                  \
                         : [v] "+&r"(membrane), [syn] "+&r"(synapse),                        \
                           [threshold] "+&r"(threshold),                                     \
                           [alpha] "+&r"(alpha), [beta] "+&r"(beta), [next] "+&r"(next),     \
                           [fired] "=&l"(fired), [first] "=&r"(first), [index] "=&r"(index), \
                           [lane] "=&r"(lane)                                                \
                         : [vectors] "r"((p->size + (LANES - 1U)) / LANES)                   \
                         : "q0", "q1", "q2", "q3", "q4", "q5", "lr", "cc", "memory");        \
        return next;                                                                         \
    }

#define RESET(name, reset)                                                                    \
    FIRE(name##_one, int32_t, ONE_DECAY, reset)                                               \
    FIRE(name##_own, const int32_t *, OWN_DECAY, reset)                                       \
    static void name(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn, uint16_t *spikes) \
    {                                                                                         \
        const uint16_t *const next =                                                          \
            (p->beta_step == 0U)                                                              \
                ? name##_one(p, v, syn, less_one(*p->alpha), less_one(*p->beta), &spikes[1])  \
                : name##_own(p, v, syn, p->alpha, p->beta, &spikes[1]);                       \
        spikes[0] = (uint16_t)(next - spikes - 1);                                            \
        add_bias(p, syn);                                                                     \
    }

/* A decay minus 1, in Q15. */
static int32_t less_one(int32_t decay)
{
    return (decay / 2) - 0x8000;
}

static void add_bias(const l2mu_neurons_i16_t *p, int16_t *syn)
{
    const int16_t *const bias = p->bias;
    if (bias != NULL) {
        const size_t size = p->size;
        for (size_t j = 0; j < size; j += LANES) {
            vstrhq_s16(&syn[j], vaddq_s16(vldrhq_s16(&syn[j]), vldrhq_s16(&bias[j])));
        }
    }
}

RESET(subtract, SUBTRACT)
RESET(zero, ZERO)
RESET(clamp, CLAMP)
RESET(none, NONE)

void l2mu_fire_synaptic_subtract_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes)
{
    subtract(p, v, syn, spikes);
}

void l2mu_fire_synaptic_zero_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes)
{
    zero(p, v, syn, spikes);
}

void l2mu_fire_synaptic_clamp_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes)
{
    clamp(p, v, syn, spikes);
}

void l2mu_fire_synaptic_none_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes)
{
    none(p, v, syn, spikes);
}
