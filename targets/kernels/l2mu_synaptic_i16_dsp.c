/* For processors with the DSP extension (Armv7E-M, Armv8-M): two current-based neurons in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <arm_acle.h>

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Assembly of one loop, four neurons at a time. Registers: r0 membranes, r1 synapses, r2 thresholds, r3
 * decays of synapses, r4 those of membranes, r5 the end of r0; r6 and r7 four membranes, r8 and r9 their
 * synapses, r10 and r11 their thresholds. On the stack: the first r0, and where the next spike goes. */

/* Each half of x times its decay, rounded down. All have the one in a register, or it points to one for
 * each. */
#define ONE_DECAY(to, x, decay) \
    "    smulwb r12, " decay ", " x "\n    smulwt lr, " decay ", " x "\n" PACKED(to)
#define OWN_DECAY(to, x, decay)         \
    "    ldrd   r12, lr, [" decay "], #8\n" \
    "    smulwb r12, r12, " x "\n    smulwt lr, lr, " x "\n" PACKED(to)
#define PACKED(to) "    pkhbt  " to ", r12, lr, lsl #16\n"

#define SATURATE(x) "    ssat16 " x ", #" TEXT(L2MU_NARROW_BITS) ", " x "\n"

/* The next membranes of two neurons whose synapses are `syn`; halves that were above the threshold t, and
 * so did spike, are those that have no GE flag. */
#define SPIKED(v, t) "    ssub16 " v ", " t ", " v "\n"
#define SUBTRACT(decayed, v, syn, t) \
    decayed("r12", v, "r4")          \
    "    ssub16 lr, r12, " t "\n"    \
    SPIKED(v, t)                     \
    "    sel    " v ", r12, lr\n"    \
    "    sadd16 " v ", " v ", " syn "\n" SATURATE(v)
#define ZERO(decayed, v, syn, t)     \
    decayed("r12", v, "r4")          \
    "    mov    lr, #0\n"            \
    SPIKED(v, t)                     \
    "    sel    " v ", r12, lr\n"    \
    "    sadd16 " v ", " v ", " syn "\n" SATURATE(v)
#define CLAMP(decayed, v, syn, t)    \
    decayed("r12", v, "r4")          \
    "    mov    lr, #0\n"            \
    "    sadd16 r12, r12, " syn "\n" SATURATE("r12") \
    SPIKED(v, t)                     \
    "    sel    " v ", r12, lr\n"
#define NONE(decayed, v, syn, t)     \
    decayed(v, v, "r4")              \
    "    sadd16 " v ", " v ", " syn "\n" SATURATE(v)

/* List the halves where `below` is negative: r10 is where the next spike goes, r11 the neuron's number. */
#define SPIKES(below)                \
    "    tst    " below ", #0x8000\n" \
    "    it     ne\n"                 \
    "    strhne r11, [r10], #2\n"     \
    "    add    r11, r11, #1\n"       \
    "    cmp    " below ", #0\n"      \
    "    it     lt\n"                 \
    "    strhlt r11, [r10], #2\n"     \
    "    add    r11, r11, #1\n"

#define LOOP(decay, next)                                     \
    "    push   {r0, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n" \
    "    ldrd   r4, r5, [sp, #40]\n"                          \
    "1:  ldrd   r8, r9, [r1]\n"                               \
    "    ldrd   r6, r7, [r0]\n"                               \
    "    ldrd   r10, r11, [r2], #8\n"                         \
    SATURATE("r8") SATURATE("r9")                             \
    next(decay, "r6", "r8", "r10")                            \
    next(decay, "r7", "r9", "r11")                            \
    "    strd   r6, r7, [r0], #8\n"                           \
    decay("r8", "r8", "r3") decay("r9", "r9", "r3")           \
    "    ssub16 r12, r10, r6\n"                               \
    "    ssub16 lr, r11, r7\n"                                \
    "    orr    r10, r12, lr\n"                               \
    "    tst    r10, #0x80008000\n"                           \
    "    strd   r8, r9, [r1], #8\n"                           \
    "    bne    3f\n"                                         \
    "2:  cmp    r0, r5\n"                                     \
    "    bne    1b\n"                                         \
    "    ldr    r0, [sp, #48]\n"                              \
    "    pop    {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n" \
    "3:  ldr    r11, [sp]\n"                                  \
    "    ldr    r10, [sp, #48]\n"                             \
    "    sub    r11, r0, r11\n"                               \
    "    lsr    r11, r11, #1\n"                               \
    "    sub    r11, r11, #4\n"                               \
    SPIKES("r12") SPIKES("lr")                                \
    "    str    r10, [sp, #48]\n"                             \
    "    b      2b\n"

/* Functions (membranes, synapses, thresholds, decays of synapses and of membranes, end of the membranes,
 * where spikes go): where the next spike would go. */
#define LOOPS(name, reset)                                                                \
    __attribute__((naked)) static uint16_t *name##_one(                                   \
        int16_t *v, int16_t *syn, const int16_t *threshold, int32_t alpha, int32_t beta,  \
        const int16_t *end, uint16_t *spikes)                                             \
    {                                                                                     \
        __asm__ volatile(LOOP(ONE_DECAY, reset));                                         \
    }                                                                                     \
    __attribute__((naked)) static uint16_t *name##_own(                                   \
        int16_t *v, int16_t *syn, const int16_t *threshold, const int32_t *alpha,         \
        const int32_t *beta, const int16_t *end, uint16_t *spikes)                        \
    {                                                                                     \
        __asm__ volatile(LOOP(OWN_DECAY, reset));                                         \
    }                                                                                     \
    static void name(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn, uint16_t *spikes) \
    {                                                                                     \
        const int16_t *const end = &v[(p->size + 3U) & ~(size_t)3U];                      \
        const int16_t *const t = p->threshold;                                            \
        const uint16_t *const next =                                                      \
            (p->beta_step == 0U)                                                          \
                ? name##_one(v, syn, t, *p->alpha, *p->beta, end, &spikes[1])             \
                : name##_own(v, syn, t, p->alpha, p->beta, end, &spikes[1]);              \
        spikes[0] = (uint16_t)(next - spikes - 1);                                        \
        add_bias(p, syn);                                                                 \
    }

static void add_bias(const l2mu_neurons_i16_t *p, int16_t *syn)
{
    const uint32_t *const bias = (const uint32_t *)(const void *)p->bias;
    uint32_t *const pairs = (uint32_t *)(void *)syn;
    if (bias != NULL) {
        const size_t count = (p->size + 1U) / 2U;
        for (size_t i = 0; i < count; ++i) {
            pairs[i] = (uint32_t)__sadd16((int16x2_t)pairs[i], (int16x2_t)bias[i]);
        }
    }
}

LOOPS(subtract, SUBTRACT)
LOOPS(zero, ZERO)
LOOPS(clamp, CLAMP)
LOOPS(none, NONE)

void l2mu_fire_synaptic_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes)
{
    subtract(p, v, syn, spikes);
}

void l2mu_fire_synaptic_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes)
{
    zero(p, v, syn, spikes);
}

void l2mu_fire_synaptic_clamp_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes)
{
    clamp(p, v, syn, spikes);
}

void l2mu_fire_synaptic_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes)
{
    none(p, v, syn, spikes);
}
