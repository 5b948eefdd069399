/* For processors with Helium (Armv8.1-M, integer MVE): four int32 neurons in a vector. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

/* Without optimization too few registers are left for assembly. */
#if !defined(__clang__) && !defined(__OPTIMIZE__)
#pragma GCC optimize("O1")
#endif

#define LANES 4U

/* v plus v times a decay less 1, rounded down: all neurons have one decay, 2^31 times that, or `decay`
 * points to one for each. */
#define ONE_DECAY(v, decay) "    vqdmlah.s32 " v ", " v ", " decay "\n"
#define OWN_DECAY(v, decay)                  \
    "    vldrw.u32 q3, [" decay "], #16\n"   \
    "    vshl.i32 q3, q3, #16\n"             \
    "    veor   q3, q3, q5\n"                \
    "    vqdmulh.s32 q3, q3, " v "\n"        \
    "    vadd.i32 " v ", " v ", q3\n"

/* What a spike does to its lane of v, of whose neurons q1 are the thresholds. */
#define SUBTRACT(v) "    vpst\n    vsubt.i32 " v ", " v ", q1\n"
#define ZERO(v) "    vpst\n    veort  " v ", " v ", " v "\n"
#define NONE(v)

/* Before a loop `fired` is the number of all neurons, and `first` points to their limits, q6 and q7. */
#define BEGIN                                           \
    "    ldrd   %[index], %[first], [%[first]]\n"       \
    "    vdup.32 q6, %[index]\n"                        \
    "    vdup.32 q7, %[first]\n"                        \
    "    vmov.i32 q5, #0x80000000\n"                    \
    "    dlstp.32 lr, %[fired]\n"

#define THRESHOLDS                                      \
    "    vldrw.u32 q1, [%[threshold]]\n"                \
    "    add    %[threshold], %[threshold], %[step]\n"

#define SATURATE(v)                                     \
    "    vmax.s32 " v ", " v ", q6\n"                   \
    "    vmin.s32 " v ", " v ", q7\n"

/* List the neurons that have four bits each in `fired`, not all zero, the lowest those of the neuron at
 * `at`; `first` is four times its number. */
#define LIST                                            \
    "    and    %[fired], %[fired], #0x11111111\n"      \
    "    sub    %[first], %[at], %[v]\n"                \
    "4:  rbit   %[index], %[fired]\n"                   \
    "    clz    %[index], %[index]\n"                   \
    "    add    %[index], %[index], %[first]\n"         \
    "    lsr    %[index], %[index], #2\n"               \
    "    strh   %[index], [%[next]], #2\n"              \
    "    sub    %[index], %[fired], #1\n"               \
    "    ands   %[fired], %[fired], %[index]\n"         \
    "    bne    4b\n"

/* q0 are membranes. */
#define FIRE_LOOP(decay, reset)                         \
    BEGIN                                               \
    "1:  vldrw.u32 q0, [%[at]]\n"                       \
    THRESHOLDS SATURATE("q0")                           \
    "    vcmp.s32 gt, q0, q1\n"                         \
    decay("q0", "%[beta]")                              \
    "    vmrs   %[fired], p0\n"                         \
    "    cbnz   %[fired], 3f\n"                         \
    "2:  vstrw.32 q0, [%[at]], #16\n"                   \
    "    letp   lr, 1b\n"                               \
    "    b      5f\n"                                   \
    "3:\n" LIST reset("q0")                             \
    "    b      2b\n"                                   \
    "5:\n"

/* q0 are synapses, q2 membranes; `clamp` is what a spike does to the next one. */
#define SYNAPTIC_LOOP(decay, other_decay, reset, clamp) \
    BEGIN                                               \
    "1:  vldrw.u32 q2, [%[at]]\n"                       \
    "    vldrw.u32 q0, [%[syn]]\n"                      \
    THRESHOLDS SATURATE("q0")                           \
    "    vcmp.s32 gt, q2, q1\n"                         \
    decay("q2", "%[beta]") reset("q2")                  \
    "    vadd.i32 q2, q2, q0\n"                         \
    SATURATE("q2") clamp("q2")                          \
    "    vcmp.s32 gt, q2, q1\n"                         \
    other_decay("q0", "%[alpha]")                       \
    "    vmrs   %[fired], p0\n"                         \
    "    vstrw.32 q0, [%[syn]], #16\n"                  \
    "    cbz    %[fired], 2f\n"                         \
    LIST                                                \
    "2:  vstrw.32 q2, [%[at]], #16\n"                   \
    "    letp   lr, 1b\n"

/* A decay less 1, times 2^31, or where decays are. */
#define ONE_DECAY_OF(decay) (((uint32_t)*(decay) << 16U) ^ 0x80000000U)
#define OWN_DECAY_OF(decay) ((uint32_t)(uintptr_t)(decay))

#define VARIABLES                                                                                \
    const int32_t one = *p->threshold;                                                           \
    const int32_t same[LANES] = {one, one, one, one};                                            \
    const int32_t *threshold = (p->threshold_step == 0U) ? same : p->threshold;                  \
    const size_t step = p->threshold_step * sizeof same;                                         \
    int32_t *at = v;                                                                             \
    uint16_t *next = spikes;                                                                     \
    uint32_t fired = p->size;                                                                    \
    uint32_t first = (uint32_t)(uintptr_t)&p->low;                                               \
    uint32_t index;
#define OUTPUTS                                                                                  \
    [at] "+&r"(at), [threshold] "+&r"(threshold), [next] "+&r"(next), [fired] "+&l"(fired),      \
        [first] "+&r"(first), [index] "=&r"(index), [beta] "+&r"(beta)
#define CHANGED "q0", "q1", "q2", "q3", "q5", "q6", "q7", "lr", "cc", "memory"

/* Functions (parameters, membranes, where spikes go): where the next spike would go. */
#define FIRE(name, decay, reset)                                                                 \
    static uint16_t *name(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)             \
    {                                                                                            \
        uint32_t beta = decay##_OF(p->beta);                                                     \
        VARIABLES                                                                                \
        __asm__ volatile(FIRE_LOOP(decay, reset)                                                 \
                         : OUTPUTS                                                               \
                         : [v] "r"(v), [step] "r"(step)                                          \
                         : CHANGED);                                                             \
        return next;                                                                             \
    }
#define SYNAPTIC(name, decay, other_decay, reset, clamp)                                         \
    static uint16_t *name(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *synapses,            \
                          uint16_t *spikes)                                                      \
    {                                                                                            \
        uint32_t beta = decay##_OF(p->beta);                                                     \
        uint32_t alpha = other_decay##_OF(p->alpha);                                             \
        int32_t *syn = synapses;                                                                 \
        VARIABLES                                                                                \
        __asm__ volatile(SYNAPTIC_LOOP(decay, other_decay, reset, clamp)                         \
                         : OUTPUTS, [alpha] "+&r"(alpha), [syn] "+&r"(syn)                       \
                         : [v] "r"(v), [step] "r"(step)                                          \
                         : CHANGED);                                                             \
        return next;                                                                             \
    }
#define SYNAPTICS(name, reset, clamp)                               \
    SYNAPTIC(name##_one_one, ONE_DECAY, ONE_DECAY, reset, clamp)    \
    SYNAPTIC(name##_one_own, ONE_DECAY, OWN_DECAY, reset, clamp)    \
    SYNAPTIC(name##_own_one, OWN_DECAY, ONE_DECAY, reset, clamp)    \
    SYNAPTIC(name##_own_own, OWN_DECAY, OWN_DECAY, reset, clamp)

FIRE(subtract_one, ONE_DECAY, SUBTRACT)
FIRE(subtract_own, OWN_DECAY, SUBTRACT)
FIRE(zero_one, ONE_DECAY, ZERO)
FIRE(zero_own, OWN_DECAY, ZERO)
FIRE(none_one, ONE_DECAY, NONE)
FIRE(none_own, OWN_DECAY, NONE)
SYNAPTICS(synaptic_subtract, SUBTRACT, NONE)
SYNAPTICS(synaptic_zero, ZERO, NONE)
SYNAPTICS(synaptic_clamp, NONE, ZERO)
SYNAPTICS(synaptic_none, NONE, NONE)

/* Where `v` gathers currents. */
static void finish(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes, const uint16_t *next)
{
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_subtract_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const uint16_t *const next =
        (p->beta_step == 0U) ? subtract_one(p, v, &spikes[1]) : subtract_own(p, v, &spikes[1]);
    finish(p, v, spikes, next);
}

void l2mu_fire_zero_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const uint16_t *const next =
        (p->beta_step == 0U) ? zero_one(p, v, &spikes[1]) : zero_own(p, v, &spikes[1]);
    finish(p, v, spikes, next);
}

void l2mu_fire_none_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const uint16_t *const next =
        (p->beta_step == 0U) ? none_one(p, v, &spikes[1]) : none_own(p, v, &spikes[1]);
    finish(p, v, spikes, next);
}

void l2mu_fire_synaptic_subtract_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                         uint16_t *spikes)
{
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? synaptic_subtract_one_one(p, v, syn, &spikes[1])
                                     : synaptic_subtract_one_own(p, v, syn, &spikes[1]);
    } else {
        next = (p->alpha_step == 0U) ? synaptic_subtract_own_one(p, v, syn, &spikes[1])
                                     : synaptic_subtract_own_own(p, v, syn, &spikes[1]);
    }
    finish(p, syn, spikes, next);
}

void l2mu_fire_synaptic_zero_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes)
{
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? synaptic_zero_one_one(p, v, syn, &spikes[1])
                                     : synaptic_zero_one_own(p, v, syn, &spikes[1]);
    } else {
        next = (p->alpha_step == 0U) ? synaptic_zero_own_one(p, v, syn, &spikes[1])
                                     : synaptic_zero_own_own(p, v, syn, &spikes[1]);
    }
    finish(p, syn, spikes, next);
}

void l2mu_fire_synaptic_clamp_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes)
{
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? synaptic_clamp_one_one(p, v, syn, &spikes[1])
                                     : synaptic_clamp_one_own(p, v, syn, &spikes[1]);
    } else {
        next = (p->alpha_step == 0U) ? synaptic_clamp_own_one(p, v, syn, &spikes[1])
                                     : synaptic_clamp_own_own(p, v, syn, &spikes[1]);
    }
    finish(p, syn, spikes, next);
}

void l2mu_fire_synaptic_none_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes)
{
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? synaptic_none_one_one(p, v, syn, &spikes[1])
                                     : synaptic_none_one_own(p, v, syn, &spikes[1]);
    } else {
        next = (p->alpha_step == 0U) ? synaptic_none_own_one(p, v, syn, &spikes[1])
                                     : synaptic_none_own_own(p, v, syn, &spikes[1]);
    }
    finish(p, syn, spikes, next);
}
