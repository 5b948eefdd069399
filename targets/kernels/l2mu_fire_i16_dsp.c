/* For processors with the DSP extension (Armv7E-M, Armv8-M): two neurons in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <arm_acle.h>

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Assembly of one loop, eight neurons at a time. Registers: r0 membranes, r1 thresholds, r2 decays, r3
 * the end of r0; r4 to r7 eight membranes; r8 to r11 what they are below their thresholds. On the stack:
 * the first r0, and where the next spike goes. Most groups have no spike and are done with that. */

/* Each half of v times its decay, rounded down: all have the one in r2, or r2 points to one for each. */
#define ONE_DECAY(v) "    smulwb r12, r2, " v "\n    smulwt lr, r2, " v "\n" PACKED(v)
#define OWN_DECAY(v) \
    "    ldrd   r12, lr, [r2], #8\n    smulwb r12, r12, " v "\n    smulwt lr, lr, " v "\n" PACKED(v)
#define PACKED(v) "    pkhbt  " v ", r12, lr, lsl #16\n"

/* What a spike does to its half of v; r12 has ones in the halves that spike. */
#define SUBTRACT(v, threshold) \
    "    ldr    lr, [r1, #" threshold "]\n    and    r12, r12, lr\n    ssub16 " v ", " v ", r12\n"
#define ZERO(v, threshold) "    bic    " v ", " v ", r12\n"
#define NONE(v, threshold)

/* List the halves where `below` is negative: r2 is where the next spike goes, r3 the neuron's number. */
#define SPIKES(v, below, threshold, reset)    \
    "    ands   r12, " below ", #0x80008000\n" \
    "    beq    5f\n"                          \
    "    lsr    lr, r12, #15\n"                \
    "    tst    lr, #1\n"                      \
    "    it     ne\n"                          \
    "    strhne r3, [r2], #2\n"                \
    "    add    r3, r3, #1\n"                  \
    "    tst    lr, #0x10000\n"                \
    "    it     ne\n"                          \
    "    strhne r3, [r2], #2\n"                \
    "    sub    r3, r3, #1\n"                  \
    "    rsb    r12, lr, r12, lsl #1\n"        \
    reset(v, threshold)                        \
    "5:  add    r3, r3, #2\n"

#define LOOP(decay, reset)                                  \
    "    push   {r0, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n" \
    "1:  ldm    r0, {r4, r5, r6, r7}\n"                       \
    "    ldm    r1!, {r8, r9, r10, r11}\n"                    \
    "    ssat16 r4, #" TEXT(L2MU_NARROW_BITS) ", r4\n"        \
    "    ssat16 r5, #" TEXT(L2MU_NARROW_BITS) ", r5\n"        \
    "    ssat16 r6, #" TEXT(L2MU_NARROW_BITS) ", r6\n"        \
    "    ssat16 r7, #" TEXT(L2MU_NARROW_BITS) ", r7\n"        \
    "    ssub16 r8, r8, r4\n"                                 \
    "    ssub16 r9, r9, r5\n"                                 \
    "    ssub16 r10, r10, r6\n"                               \
    "    ssub16 r11, r11, r7\n"                               \
    decay("r4") decay("r5") decay("r6") decay("r7")           \
    "    orr    r12, r8, r9\n"                                \
    "    orr    lr, r10, r11\n"                               \
    "    orr    r12, r12, lr\n"                               \
    "    tst    r12, #0x80008000\n"                           \
    "    bne    3f\n"                                         \
    "2:  stm    r0!, {r4, r5, r6, r7}\n"                      \
    "    cmp    r0, r3\n"                                     \
    "    bne    1b\n"                                         \
    "    ldr    r0, [sp, #40]\n"                              \
    "    pop    {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n" \
    "3:  push   {r2, r3}\n"                                   \
    "    ldr    r3, [sp, #8]\n"                               \
    "    ldr    r2, [sp, #48]\n"                              \
    "    sub    r3, r0, r3\n"                                 \
    "    lsr    r3, r3, #1\n"                                 \
    SPIKES("r4", "r8", "-16", reset)                          \
    SPIKES("r5", "r9", "-12", reset)                          \
    SPIKES("r6", "r10", "-8", reset)                          \
    SPIKES("r7", "r11", "-4", reset)                          \
    "    str    r2, [sp, #48]\n"                              \
    "    pop    {r2, r3}\n"                                   \
    "    b      2b\n"

/* Functions (membranes, thresholds, decays, end of the membranes, where spikes go): where the next spike
 * would go. */
#define LOOPS(name, reset)                                                               \
    __attribute__((naked)) static uint16_t *name##_one(                                  \
        uint32_t *v, const int16_t *threshold, int32_t beta, const uint32_t *end, uint16_t *next) \
    {                                                                                    \
        __asm__ volatile(LOOP(ONE_DECAY, reset));                                        \
    }                                                                                    \
    __attribute__((naked)) static uint16_t *name##_own(                                  \
        uint32_t *v, const int16_t *threshold, const int32_t *beta, const uint32_t *end, \
        uint16_t *next)                                                                  \
    {                                                                                    \
        __asm__ volatile(LOOP(OWN_DECAY, reset));                                        \
    }

LOOPS(subtract, SUBTRACT)
LOOPS(zero, ZERO)
LOOPS(none, NONE)

static size_t groups(const l2mu_neurons_i16_t *p)
{
    return (p->size + 7U) / 8U;
}

static void finish(const l2mu_neurons_i16_t *p, uint32_t *pairs, uint16_t *spikes,
                   const uint16_t *next)
{
    const uint32_t *bias = (const uint32_t *)(const void *)p->bias;
    spikes[0] = (uint16_t)(next - spikes - 1);
    if (bias != NULL) {
        const size_t count = 4U * groups(p);
        for (size_t i = 0; i < count; ++i) {
            pairs[i] = (uint32_t)__sadd16((int16x2_t)pairs[i], (int16x2_t)bias[i]);
        }
    }
}

void l2mu_fire_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    uint32_t *const pairs = (uint32_t *)(void *)v;
    const uint32_t *const end = &pairs[4U * groups(p)];
    const uint16_t *const next =
        (p->beta_step == 0U) ? subtract_one(pairs, p->threshold, *p->beta, end, &spikes[1])
                             : subtract_own(pairs, p->threshold, p->beta, end, &spikes[1]);
    finish(p, pairs, spikes, next);
}

void l2mu_fire_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    uint32_t *const pairs = (uint32_t *)(void *)v;
    const uint32_t *const end = &pairs[4U * groups(p)];
    const uint16_t *const next =
        (p->beta_step == 0U) ? zero_one(pairs, p->threshold, *p->beta, end, &spikes[1])
                             : zero_own(pairs, p->threshold, p->beta, end, &spikes[1]);
    finish(p, pairs, spikes, next);
}

void l2mu_fire_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    uint32_t *const pairs = (uint32_t *)(void *)v;
    const uint32_t *const end = &pairs[4U * groups(p)];
    const uint16_t *const next =
        (p->beta_step == 0U) ? none_one(pairs, p->threshold, *p->beta, end, &spikes[1])
                             : none_own(pairs, p->threshold, p->beta, end, &spikes[1]);
    finish(p, pairs, spikes, next);
}
