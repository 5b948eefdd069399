/* For processors with the DSP extension (Armv7E-M, Armv8-M): two neurons in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Assembly of one loop, eight neurons at a time. Registers: r0 membranes, r1 thresholds, r2 the decay of
 * all or where those of each are, r3 the number of the first of the eight and, in its high half, of those
 * left, less than 0; r4 to r7 eight membranes; r8 to r11 what they are below their thresholds; lr where the
 * next spike goes. Most groups have no spike. */

#define SATURATE                                         \
    "    ssat16 r4, #" TEXT(L2MU_NARROW_BITS) ", r4\n"   \
    "    ssat16 r5, #" TEXT(L2MU_NARROW_BITS) ", r5\n"   \
    "    ssat16 r6, #" TEXT(L2MU_NARROW_BITS) ", r6\n"   \
    "    ssat16 r7, #" TEXT(L2MU_NARROW_BITS) ", r7\n"

/* Each half of v times its decay, rounded down. */
#define PRODUCTS(v, even, odd)               \
    "    smulwb r12, " even ", " v "\n"      \
    "    smulwt " v ", " odd ", " v "\n"     \
    "    pkhbt  " v ", r12, " v ", lsl #16\n"

#define ONE_DECAY \
    PRODUCTS("r4", "r2", "r2") PRODUCTS("r5", "r2", "r2") PRODUCTS("r6", "r2", "r2") PRODUCTS("r7", "r2", "r2")

#define OWN_DECAYS                                             \
    "    ldm    r2!, {r8, r9, r10, r11}\n"                     \
    PRODUCTS("r4", "r8", "r9") PRODUCTS("r5", "r10", "r11")    \
    "    ldm    r2!, {r8, r9, r10, r11}\n"                     \
    PRODUCTS("r6", "r8", "r9") PRODUCTS("r7", "r10", "r11")

/* List those of two neurons that are below 0. */
#define LIST(below, even, odd)               \
    "    tst    " below ", #0x80008000\n"    \
    "    beq    5f\n"                        \
    "    lsls   r12, " below ", #16\n"       \
    "    bpl    4f\n"                        \
    "    add    r12, r3, #" even "\n"        \
    "    strh   r12, [lr], #2\n"             \
    "    cmp    " below ", #0\n"             \
    "    bpl    5f\n"                        \
    "4:  add    r12, r3, #" odd "\n"         \
    "    strh   r12, [lr], #2\n"             \
    "5:\n"

/* Most groups have no spike and are done with that; where they go on after 6 is on the stack. */
#define LOOP(saturate, decay)                \
    "1:  ldm    r0, {r4, r5, r6, r7}\n"      \
    "    ldm    r1!, {r8, r9, r10, r11}\n"   \
    saturate                                 \
    "    ssub16 r8, r8, r4\n"                \
    "    ssub16 r9, r9, r5\n"                \
    "    ssub16 r10, r10, r6\n"              \
    "    ssub16 r11, r11, r7\n"              \
    "    orr    r12, r8, r9\n"               \
    "    orr    r12, r12, r10\n"             \
    "    orr    r12, r12, r11\n"             \
    "    tst    r12, #0x80008000\n"          \
    "    bne    6f\n"                        \
    "2:\n" decay                             \
    "    stm    r0!, {r4, r5, r6, r7}\n"     \
    "    adds   r3, r3, #0x00080008\n"       \
    "    bcc    1b\n"                        \
    "    b      7f\n"

/* List the neurons that are above their thresholds, and let all decay. */
__attribute__((naked)) static void list_and_decay(const l2mu_neurons_i16_t *p, int16_t *v,
                                                  uint16_t *spikes)
{
    __asm__ volatile("    push   {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n"
                     "    add    lr, r2, #2\n"
                     "    ldrd   r2, r4, [r0]\n"
                     "    ldrh   r3, [r0, #12]\n"
                     "    ldrb   r5, [r0, #14]\n"
                     "    ldrb   r6, [r0, #15]\n"
                     "    mov    r0, r1\n"
                     "    mov    r1, r4\n"
                     "    add    r3, r3, #7\n"
                     "    bic    r3, r3, #7\n"
                     "    rsb    r3, r3, #0\n"
                     "    lsl    r3, r3, #16\n"
                     "    cmp    r5, #0\n"
                     "    bne    4f\n"
                     "    ldr    r2, [r2]\n"
                     "    cmp    r6, #0\n"
                     "    bne    3f\n"
                     "    adr.w  r4, 2f\n"
                     "    add    r4, r4, #1\n"
                     "    str    r4, [sp, #4]\n"
                     LOOP(SATURATE, ONE_DECAY)
                     "3:  adr.w  r4, 2f\n"
                     "    add    r4, r4, #1\n"
                     "    str    r4, [sp, #4]\n"
                     LOOP("", ONE_DECAY)
                     "4:  adr.w  r4, 2f\n"
                     "    add    r4, r4, #1\n"
                     "    str    r4, [sp, #4]\n"
                     LOOP(SATURATE, OWN_DECAYS)
                     "6:\n"
                     LIST("r8", "0", "1")
                     LIST("r9", "2", "3")
                     LIST("r10", "4", "5")
                     LIST("r11", "6", "7")
                     "    ldr    pc, [sp, #4]\n"
                     "7:  ldr    r2, [sp]\n"
                     "    sub    r3, lr, r2\n"
                     "    lsr    r3, r3, #1\n"
                     "    sub    r3, r3, #1\n"
                     "    strh   r3, [r2]\n"
                     "    pop    {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}\n");
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

static inline void add_bias(const l2mu_neurons_i16_t *p, int16_t *v)
{
    if (p->bias != NULL) {
        add_pairs(v, p->bias, &v[(p->size + 7U) / 8U * 8U]);
    }
}

void l2mu_fire_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    list_and_decay(p, v, spikes);
    const int16_t *const threshold = p->threshold;
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        v[*spike] = (int16_t)(v[*spike] - threshold[*spike]);
    }
    add_bias(p, v);
}

void l2mu_fire_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    list_and_decay(p, v, spikes);
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        v[*spike] = 0;
    }
    add_bias(p, v);
}

void l2mu_fire_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    list_and_decay(p, v, spikes);
    add_bias(p, v);
}
