/* For Armv6-M and Armv7-M: current-based neurons, of which most neither spike nor saturate. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define GROUP 4U

/* Registers: r0 membranes, r1 synapses, r2 thresholds, r3 the offset of a neuron in each of them, r4 its
 * synapse, r5 its membrane, r6 its threshold; r8 the decay of membranes and r10 that of synapses, or where
 * those of all neurons are, r9 the lower limit, r11 where the next spike goes, r12 the end of r3. */

/* x times its decay, rounded down. */
#define ONE_DECAY(x, decay)          \
    "    mov    r7, " decay "\n"     \
    "    muls   " x ", r7, " x "\n"  \
    "    asrs   " x ", " x ", #16\n"
#define OWN_DECAY(x, decay)          \
    "    mov    r7, " decay "\n"     \
    "    adds   r7, r7, r3\n"        \
    "    ldr    r7, [r7, r3]\n"      \
    "    muls   " x ", r7, " x "\n"  \
    "    asrs   " x ", " x ", #16\n"

#define LOAD_SYNAPSE "    ldrsh  r4, [r1, r3]\n"
#define LOAD_MEMBRANE "    ldrsh  r5, [r0, r3]\n    ldrh   r6, [r2, r3]\n"

/* Go to 1 if a synapse is beyond the limits, and to 2 unless a membrane is so or spikes. No threshold is
 * above the upper limit. What is within leaves 0 or -1 when it is shifted by 13. */
#ifdef __ARM_FEATURE_SAT
#define TEST_SYNAPSE "    ssat   r4, #14, r4\n"
#define TEST_MEMBRANE \
    "    ssat   r5, #14, r5\n    cmp    r5, r6\n    ble    2f\n"
#else
#define TEST_SYNAPSE           \
    "    asrs   r7, r4, #13\n" \
    "    adds   r7, #1\n"      \
    "    lsrs   r7, r7, #1\n"  \
    "    bne    1f\n"
#define TEST_MEMBRANE          \
    "    cmp    r5, r6\n"      \
    "    bgt    1f\n"          \
    "    cmp    r5, r9\n"      \
    "    bge    2f\n"
#endif

/* A neuron; all that is not simple is left to `settle`. */
#define NEURON(decay, settle)            \
    LOAD_SYNAPSE TEST_SYNAPSE            \
    LOAD_MEMBRANE                        \
    "    cmp    r5, r6\n"                \
    "    bgt    1f\n"                    \
    decay("r5", "r8")                    \
    "    adds   r5, r5, r4\n"            \
    TEST_MEMBRANE                        \
    "1:  bl     " settle "\n"            \
    "2:  strh   r5, [r0, r3]\n"          \
    decay("r4", "r10")                   \
    "    strh   r4, [r1, r3]\n"          \
    "    adds   r3, #2\n"

#define LOOP(decay, settle)              \
    "    .syntax unified\n"              \
    "    push   {r4, r5, r6, r7, lr}\n"  \
    "    mov    r4, r8\n"                \
    "    mov    r5, r9\n"                \
    "    mov    r6, r10\n"               \
    "    mov    r7, r11\n"               \
    "    push   {r4, r5, r6, r7}\n"      \
    "    mov    r10, r3\n"               \
    "    ldr    r4, [sp, #36]\n"         \
    "    mov    r8, r4\n"                \
    "    ldr    r4, [sp, #40]\n"         \
    "    mov    r12, r4\n"               \
    "    ldr    r4, [sp, #44]\n"         \
    "    mov    r11, r4\n"               \
    "    movs   r4, #1\n"                \
    "    lsls   r4, r4, #13\n"           \
    "    rsbs   r4, r4, #0\n"            \
    "    mov    r9, r4\n"                \
    "    movs   r3, #0\n"                \
    "3:\n"                               \
    NEURON(decay, settle)                \
    NEURON(decay, settle)                \
    NEURON(decay, settle)                \
    NEURON(decay, settle)                \
    "    cmp    r3, r12\n"               \
    "    bne    3b\n"                    \
    "    mov    r0, r11\n"               \
    "    pop    {r4, r5, r6, r7}\n"      \
    "    mov    r8, r4\n"                \
    "    mov    r9, r5\n"                \
    "    mov    r10, r6\n"               \
    "    mov    r11, r7\n"               \
    "    pop    {r4, r5, r6, r7, pc}\n"

/* x to the limits. */
#define SATURATE(x)                \
    "    mov    r7, r9\n"          \
    "    cmp    " x ", r7\n"       \
    "    bge    4f\n"              \
    "    movs   " x ", r7\n"       \
    "4:  mvns   r7, r7\n"          \
    "    cmp    " x ", r7\n"       \
    "    ble    4f\n"              \
    "    movs   " x ", r7\n"       \
    "4:\n"

/* What the last spike does to a decayed membrane, and whether a synapse is added. */
#define SUBTRACT "    subs   r5, r5, r6\n    b      6f\n"
#define ZERO "    movs   r5, #0\n    b      6f\n"
#define CLAMP "    movs   r5, #0\n    b      7f\n"
#define NONE "    b      6f\n"

/* The neuron at r3 from the beginning: r4 becomes its saturated synapse and r5 its next membrane. */
#define SETTLE(decay, reset)       \
    "    .syntax unified\n"        \
    LOAD_SYNAPSE LOAD_MEMBRANE     \
    SATURATE("r4")                 \
    "    cmp    r5, r6\n"          \
    "    bgt    5f\n"              \
    decay("r5", "r8")              \
    "    b      6f\n"              \
    "5:\n" decay("r5", "r8") reset \
    "6:  adds   r5, r5, r4\n"      \
    SATURATE("r5")                 \
    "7:  cmp    r5, r6\n"          \
    "    ble    8f\n"              \
    "    mov    r7, r11\n"         \
    "    lsrs   r6, r3, #1\n"      \
    "    strh   r6, [r7]\n"        \
    "    adds   r7, #2\n"          \
    "    mov    r11, r7\n"         \
    "8:  bx     lr\n"

/* Functions (membranes, synapses, thresholds, decays of synapses and of membranes, bytes of membranes,
 * where spikes go): where the next spike would go. */
#define FIRE(name, decay_type, decay, reset)                                                \
    __attribute__((naked, used)) static void l2mu_settle_##name(void)                       \
    {                                                                                       \
        __asm__ volatile(SETTLE(decay, reset));                                             \
    }                                                                                       \
    __attribute__((naked)) static uint16_t *name(int16_t *v, int16_t *syn,                  \
                                                 const int16_t *threshold, decay_type alpha, \
                                                 decay_type beta, size_t bytes,             \
                                                 uint16_t *next)                            \
    {                                                                                       \
        __asm__ volatile(LOOP(decay, "l2mu_settle_" #name));                                \
    }

#define RESET(name, reset)                                                                    \
    FIRE(name##_one, int32_t, ONE_DECAY, reset)                                               \
    FIRE(name##_own, const int32_t *, OWN_DECAY, reset)                                       \
    static void name(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn, uint16_t *spikes) \
    {                                                                                         \
        const size_t bytes = 2U * ((p->size + (GROUP - 1U)) & ~(size_t)(GROUP - 1U));         \
        const int16_t *const t = p->threshold;                                                \
        const uint16_t *const next =                                                          \
            (p->beta_step == 0U)                                                              \
                ? name##_one(v, syn, t, *p->alpha, *p->beta, bytes, &spikes[1])               \
                : name##_own(v, syn, t, p->alpha, p->beta, bytes, &spikes[1]);                \
        spikes[0] = (uint16_t)(next - spikes - 1);                                            \
        add_bias(p, syn);                                                                     \
    }

#if L2MU_NARROW_BITS != 14
#error "the limits in this file are those of 14 bits"
#endif

static void add_bias(const l2mu_neurons_i16_t *p, int16_t *syn)
{
    const int16_t *const bias = p->bias;
    if (bias != NULL) {
        const size_t size = p->size;
        for (size_t j = 0; j < size; ++j) {
            syn[j] = (int16_t)(syn[j] + bias[j]);
        }
    }
}

RESET(subtract, SUBTRACT)
RESET(zero, ZERO)
RESET(clamp, CLAMP)
RESET(none, NONE)

void l2mu_fire_synaptic_subtract_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    subtract(p, v, syn, spikes);
}

void l2mu_fire_synaptic_zero_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                    uint16_t *spikes)
{
    zero(p, v, syn, spikes);
}

void l2mu_fire_synaptic_clamp_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes)
{
    clamp(p, v, syn, spikes);
}

void l2mu_fire_synaptic_none_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                    uint16_t *spikes)
{
    none(p, v, syn, spikes);
}
