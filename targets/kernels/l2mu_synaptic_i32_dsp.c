/* For processors with the DSP extension (Armv7E-M, Armv8-M): all that is known of a neuron in registers. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* What the assembly holds in r0 to r5 and r8 to r11, but for `step`. A decay is that of all neurons less 1,
 * times 2^31, or where those of the next ones are. */
typedef struct {
    int32_t *v;
    int32_t *syn;
    const int32_t *threshold;
    uint16_t *next;
    uint32_t alpha;
    uint32_t beta;
    int32_t low;
    uint32_t range; /* from the lower limit to the upper one */
    int32_t *begin;
    int32_t *end;
    size_t step; /* bytes from one threshold to the next */
} neurons_t;

#define SATURATE(x)                       \
    "    sub    lr, " x ", r8\n"         \
    "    cmp    lr, r9\n"                \
    "    bls    3f\n"                    \
    "    cmp    " x ", r8\n"             \
    "    ite    lt\n"                    \
    "    movlt  " x ", r8\n"             \
    "    addge  " x ", r8, r9\n"         \
    "3:\n"

/* x, of 31 bits, plus the upper half of the product of 2 x and a decay less 1: rounded down. Conditions
 * stay as they are. */
#define ONE_DECAY(x, decay)                             \
    "    lsl    lr, " x ", #1\n"                       \
    "    smmla  " x ", lr, " decay ", " x "\n"
#define OWN_DECAY(x, decay)                             \
    "    ldr    lr, [" decay "], #4\n"                 \
    "    lsl    lr, lr, #16\n"                         \
    "    eor    lr, lr, #0x80000000\n"                 \
    "    lsl    " x ", " x ", #1\n"                    \
    "    smmul  lr, lr, " x "\n"                       \
    "    add    " x ", lr, " x ", asr #1\n"

/* What r6, decayed, becomes with the current r7; `gt` says that it was above its threshold, r12. */
#define ARRIVE "    add    r6, r6, r7\n" SATURATE("r6")
#define SUBTRACT "    it     gt\n    subgt  r6, r6, r12\n" ARRIVE
#define ZERO "    it     gt\n    movgt  r6, #0\n" ARRIVE
#define CLAMP                \
    "    ble    4f\n"       \
    "    mov    r6, #0\n"   \
    "    b      5f\n"       \
    "4:\n" ARRIVE "5:\n"
#define NONE ARRIVE

#define LOOP(beta, alpha, integrate)                  \
    __asm__ volatile(                                 \
        "    push   {r0, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n" \
        "    mov    lr, r0\n"                        \
        "    ldm    lr, {r0, r1, r2, r3, r4, r5, r8, r9, r10, r11, r12}\n" \
        "    str    r12, [sp]\n"                     \
        "1:  ldr    r7, [r1]\n" SATURATE("r7")       \
        "    ldr    r6, [r0]\n"                      \
        "    ldr    r12, [r2]\n"                     \
        "    ldr    lr, [sp]\n"                      \
        "    add    r2, r2, lr\n"                    \
        "    cmp    r6, r12\n" beta("r6", "r5") integrate \
        "    cmp    r6, r12\n"                       \
        "    ble    3f\n"                            \
        "    sub    lr, r0, r10\n"                   \
        "    lsr    lr, lr, #2\n"                    \
        "    strh   lr, [r3], #2\n"                  \
        "3:  str    r6, [r0], #4\n" alpha("r7", "r4") \
        "    str    r7, [r1], #4\n"                  \
        "    cmp    r0, r11\n"                       \
        "    bne    1b\n"                            \
        "    mov    r0, r3\n"                        \
        "    pop    {r1, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n")

/* Functions of neurons that have one beta or their own, then one alpha or their own: where the next spike
 * would go. */
#define LOOPS(name, integrate)                                                       \
    __attribute__((naked)) static uint16_t *name##_one_one(const neurons_t *p)       \
    {                                                                                \
        LOOP(ONE_DECAY, ONE_DECAY, integrate);                                       \
    }                                                                                \
    __attribute__((naked)) static uint16_t *name##_one_own(const neurons_t *p)       \
    {                                                                                \
        LOOP(ONE_DECAY, OWN_DECAY, integrate);                                       \
    }                                                                                \
    __attribute__((naked)) static uint16_t *name##_own_one(const neurons_t *p)       \
    {                                                                                \
        LOOP(OWN_DECAY, ONE_DECAY, integrate);                                       \
    }                                                                                \
    __attribute__((naked)) static uint16_t *name##_own_own(const neurons_t *p)       \
    {                                                                                \
        LOOP(OWN_DECAY, OWN_DECAY, integrate);                                       \
    }

LOOPS(subtract, SUBTRACT)
LOOPS(zero, ZERO)
LOOPS(clamp, CLAMP)
LOOPS(none, NONE)

static uint32_t decay_of(const int32_t *decay, uint8_t step)
{
    const uint32_t less_one = ((uint32_t)*decay << 16U) ^ 0x80000000U;
    return (step == 0U) ? less_one : (uint32_t)(uintptr_t)decay;
}

static neurons_t neurons_of(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn, uint16_t *spikes)
{
    neurons_t all;
    all.v = v;
    all.syn = syn;
    all.threshold = p->threshold;
    all.next = &spikes[1];
    all.alpha = decay_of(p->alpha, p->alpha_step);
    all.beta = decay_of(p->beta, p->beta_step);
    all.low = p->low;
    all.range = (uint32_t)p->high - (uint32_t)p->low;
    all.begin = v;
    all.end = &v[p->size];
    all.step = p->threshold_step * sizeof *v;
    return all;
}

static void finish(const l2mu_neurons_i32_t *p, int32_t *syn, uint16_t *spikes, const uint16_t *next)
{
    spikes[0] = (uint16_t)(next - spikes - 1);
    l2mu_add_bias_i32(p, syn);
}

void l2mu_fire_synaptic_subtract_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                         uint16_t *spikes)
{
    const neurons_t all = neurons_of(p, v, syn, spikes);
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? subtract_one_one(&all) : subtract_one_own(&all);
    } else {
        next = (p->alpha_step == 0U) ? subtract_own_one(&all) : subtract_own_own(&all);
    }
    finish(p, syn, spikes, next);
}

void l2mu_fire_synaptic_zero_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes)
{
    const neurons_t all = neurons_of(p, v, syn, spikes);
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? zero_one_one(&all) : zero_one_own(&all);
    } else {
        next = (p->alpha_step == 0U) ? zero_own_one(&all) : zero_own_own(&all);
    }
    finish(p, syn, spikes, next);
}

void l2mu_fire_synaptic_clamp_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes)
{
    const neurons_t all = neurons_of(p, v, syn, spikes);
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? clamp_one_one(&all) : clamp_one_own(&all);
    } else {
        next = (p->alpha_step == 0U) ? clamp_own_one(&all) : clamp_own_own(&all);
    }
    finish(p, syn, spikes, next);
}

void l2mu_fire_synaptic_none_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes)
{
    const neurons_t all = neurons_of(p, v, syn, spikes);
    const uint16_t *next;
    if (p->beta_step == 0U) {
        next = (p->alpha_step == 0U) ? none_one_one(&all) : none_one_own(&all);
    } else {
        next = (p->alpha_step == 0U) ? none_own_one(&all) : none_own_own(&all);
    }
    finish(p, syn, spikes, next);
}
