/* For processors with the DSP extension (Armv7E-M, Armv8-M): two neurons in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <stdbool.h>

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* The assembly knows where these are, and what is between the last two. */
typedef char l2mu_places[((offsetof(l2mu_neurons_i16_t, beta) == 4U) &&
                          (offsetof(l2mu_neurons_i16_t, threshold) == 8U) &&
                          (offsetof(l2mu_neurons_i16_t, size) == 16U) &&
                          (offsetof(l2mu_neurons_i16_t, bounded) == 19U))
                             ? 1
                             : -1];

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Assembly of loops, eight neurons at a time. Registers: r0 membranes, r1 thresholds, r2 the decay of all
 * or where those of each are, r3 the number of the first of the eight and, in its high half, of those
 * left, less than 0; r4 to r7 eight membranes; r8 to r11 what they are below their thresholds; lr where the
 * next spike goes. Most groups have no spike; where others go on is on the stack. */

#define SATURATE                                       \
    "    ssat16 r4, #" TEXT(L2MU_NARROW_BITS) ", r4\n" \
    "    ssat16 r5, #" TEXT(L2MU_NARROW_BITS) ", r5\n" \
    "    ssat16 r6, #" TEXT(L2MU_NARROW_BITS) ", r6\n" \
    "    ssat16 r7, #" TEXT(L2MU_NARROW_BITS) ", r7\n"

#define COMPARE(saturate, spikes)          \
    "    ldm    r0, {r4, r5, r6, r7}\n"    \
    "    ldm    r1!, {r8, r9, r10, r11}\n" \
    saturate                               \
    "    ssub16 r8, r8, r4\n"              \
    "    ssub16 r9, r9, r5\n"              \
    "    ssub16 r10, r10, r6\n"            \
    "    ssub16 r11, r11, r7\n"            \
    "    orr    r12, r8, r9\n"             \
    "    orr    r12, r12, r10\n"           \
    "    orr    r12, r12, r11\n"           \
    "    tst    r12, #0x80008000\n"        \
    "    bne    " spikes "\n"

/* Each half of v times its decay, rounded down. */
#define DECAY(v, even, odd)                 \
    "    smulwb r12, " even ", " v "\n"     \
    "    smulwt " v ", " odd ", " v "\n"    \
    "    pkhbt  " v ", r12, " v ", lsl #16\n"

#define STORE "    stm    r0!, {r4, r5, r6, r7}\n"

#define REPEAT                          \
    "    adds   r3, r3, #0x00080008\n"  \
    "    bcc    1b\n"                   \
    "    b      9f\n"

#define GO_ON_AT(label) "    adr.w  r4, " label " + 1\n    str    r4, [sp, #4]\n"

/* All have one decay. */
#define LOOP_ONE(saturate)                                                    \
    GO_ON_AT("2f")                                                            \
    "1:\n" COMPARE(saturate, "6f")                                            \
    DECAY("r4", "r2", "r2") DECAY("r5", "r2", "r2") DECAY("r6", "r2", "r2")   \
    DECAY("r7", "r2", "r2") STORE "2:\n" REPEAT

/* Each has its own. */
#define LOOP_OWN                                                              \
    GO_ON_AT("2f")                                                            \
    "1:\n" COMPARE(SATURATE, "7f")                                            \
    "2:  ldm    r2!, {r8, r9, r10, r11}\n"                                    \
    DECAY("r4", "r8", "r9") DECAY("r5", "r10", "r11")                         \
    "    ldm    r2!, {r8, r9, r10, r11}\n"                                    \
    DECAY("r6", "r8", "r9") DECAY("r7", "r10", "r11") STORE REPEAT

/* List those of two neurons that are below 0, and reset them. */
#define SPIKES(below, list_even, list_odd, reset_even, reset_odd) \
    "    tst    " below ", #0x80008000\n"                         \
    "    beq    5f\n"                                             \
    "    lsls   r12, " below ", #16\n"                            \
    "    bpl    4f\n" list_even reset_even                        \
    "    cmp    " below ", #0\n"                                  \
    "    bpl    5f\n"                                             \
    "4:\n" list_odd reset_odd                                     \
    "5:\n"

#define LIST_FIRST "    strh   r3, [lr], #2\n"
#define LIST(number) "    add    r12, r3, #" number "\n    strh   r12, [lr], #2\n"

/* Resets of half of v, whose threshold is at such an offset from r1. */
#define SUBTRACT_EVEN(v, offset) "    ldrh   r12, [r1, #" offset "]\n    ssub16 " v ", " v ", r12\n"
#define SUBTRACT_ODD(v, offset) "    ldrh   r12, [r1, #" offset "]\n    sub    " v ", " v ", r12, lsl #16\n"
#define ZERO_EVEN(v, offset) "    bfc    " v ", #0, #16\n"
#define ZERO_ODD(v, offset) "    bfc    " v ", #16, #16\n"
#define NONE(v, offset)

/* Eight with spikes that have one decay. */
#define SPIKES_ONE(even, odd)                                                           \
    DECAY("r4", "r2", "r2") DECAY("r5", "r2", "r2")                                     \
    DECAY("r6", "r2", "r2") DECAY("r7", "r2", "r2")                                     \
    SPIKES("r8", LIST_FIRST, LIST("1"), even("r4", "-16"), odd("r4", "-14"))            \
    SPIKES("r9", LIST("2"), LIST("3"), even("r5", "-12"), odd("r5", "-10"))             \
    SPIKES("r10", LIST("4"), LIST("5"), even("r6", "-8"), odd("r6", "-6"))              \
    SPIKES("r11", LIST("6"), LIST("7"), even("r7", "-4"), odd("r7", "-2"))              \
    STORE "    ldr    pc, [sp, #4]\n"

#define SPIKES_OWN                                                                      \
    SPIKES("r8", LIST_FIRST, LIST("1"), "", "") SPIKES("r9", LIST("2"), LIST("3"), "", "") \
    SPIKES("r10", LIST("4"), LIST("5"), "", "") SPIKES("r11", LIST("6"), LIST("7"), "", "") \
    "    ldr    pc, [sp, #4]\n"

#define FIRE(even, odd)                                                  \
    "    add    r2, r2, #2\n"                                            \
    "    push   {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n"   \
    "    mov    lr, r2\n"                                                \
    "    ldrd   r2, r4, [r0, #4]\n" /* beta and threshold */             \
    "    ldrh   r3, [r0, #16]\n"    /* size */                           \
    "    ldrh   r5, [r0, #18]\n"    /* beta_step and bounded */          \
    "    mov    r0, r1\n"                                                \
    "    mov    r1, r4\n"                                                \
    "    add    r3, r3, #7\n"                                            \
    "    bic    r3, r3, #7\n"                                            \
    "    rsb    r3, r3, #0\n"                                            \
    "    lsl    r3, r3, #16\n"                                           \
    "    lsls   r5, r5, #24\n"                                           \
    "    bne    4f\n"                                                    \
    "    ldr    r2, [r2]\n"                                              \
    "    bcs    3f\n" LOOP_ONE(SATURATE)                                 \
    "3:\n" LOOP_ONE("")                                                  \
    "4:\n" LOOP_OWN                                                      \
    "6:\n" SPIKES_ONE(even, odd)                                         \
    "7:\n" SPIKES_OWN                                                    \
    "9:  ldr    r2, [sp]\n"                                              \
    "    sub    r3, lr, r2\n"                                            \
    "    lsr    r3, r3, #1\n"                                            \
    "    strh   r3, [r2, #-2]\n"                                         \
    "    pop    {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}\n"

/* List the neurons that are above their thresholds and let all decay; reset those listed if all have one
 * decay. */

__attribute__((naked)) static void subtract(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    __asm__ volatile(FIRE(SUBTRACT_EVEN, SUBTRACT_ODD));
}

__attribute__((naked)) static void zero(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    __asm__ volatile(FIRE(ZERO_EVEN, ZERO_ODD));
}

__attribute__((naked)) static void none(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    __asm__ volatile(FIRE(NONE, NONE));
}

/* Eight at a time. */
__attribute__((naked)) static void add_pairs(int16_t *v, const int16_t *bias, const int16_t *end)
{
    __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "1:  ldm    r0, {r4, r5, r6, r7}\n"
                     "    ldm    r1!, {r8, r9, r10, r11}\n"
                     "    sadd16 r4, r4, r8\n"
                     "    sadd16 r5, r5, r9\n"
                     "    sadd16 r6, r6, r10\n"
                     "    sadd16 r7, r7, r11\n"
                     "    stm    r0!, {r4, r5, r6, r7}\n"
                     "    cmp    r0, r2\n"
                     "    bne    1b\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    bx     lr\n");
}

static void add_bias(const l2mu_neurons_i16_t *p, int16_t *v)
{
    if (p->bias != NULL) {
        add_pairs(v, p->bias, &v[(p->size + 7U) / 8U * 8U]);
    }
}

/* Where each neuron has its own decay, or a bias, there is more to do. */
static inline bool simple(const l2mu_neurons_i16_t *p)
{
    return (p->beta_step == 0U) && (p->bias == NULL);
}

__attribute__((noinline)) static void subtract_all(const l2mu_neurons_i16_t *p, int16_t *v,
                                                   uint16_t *spikes)
{
    subtract(p, v, spikes);
    if (p->beta_step != 0U) {
        const int16_t *const threshold = p->threshold;
        const uint16_t *const end = &spikes[1U + spikes[0]];
        for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
            v[*spike] = (int16_t)(v[*spike] - threshold[*spike]);
        }
    }
    add_bias(p, v);
}

__attribute__((noinline)) static void zero_all(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    zero(p, v, spikes);
    if (p->beta_step != 0U) {
        const uint16_t *const end = &spikes[1U + spikes[0]];
        for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
            v[*spike] = 0;
        }
    }
    add_bias(p, v);
}

void l2mu_fire_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    if (simple(p)) {
        subtract(p, v, spikes);
    } else {
        subtract_all(p, v, spikes);
    }
}

void l2mu_fire_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    if (simple(p)) {
        zero(p, v, spikes);
    } else {
        zero_all(p, v, spikes);
    }
}

void l2mu_fire_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    none(p, v, spikes);
    add_bias(p, v);
}
