/* For processors with the DSP extension (Armv7E-M, Armv8-M): a byte of two weights is looked up as two
 * int16, which a register adds up. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_powers.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* Two bytes of the row at r0 to two pairs of sums. */
#define TWO_BYTES(first, second, x, y)        \
    "    ldrb   r1, [r0, #" first "]\n"       \
    "    ldrb   r3, [r0, #" second "]\n"      \
    "    ldr    r1, [r12, r1, lsl #2]\n"      \
    "    ldr    r3, [r12, r3, lsl #2]\n"      \
    "    sadd16 " x ", " x ", r1\n"           \
    "    sadd16 " y ", " y ", r3\n"

#define ROW                           \
    "    ldrh   r0, [r2], #2\n"       \
    "    add    r0, lr, r0, lsl #3\n" \
    TWO_BYTES("0", "1", "r4", "r5")   \
    TWO_BYTES("2", "3", "r6", "r7")   \
    TWO_BYTES("4", "5", "r8", "r9")   \
    TWO_BYTES("6", "7", "r10", "r11")

#define FOUR(first, second) L2MU_FOUR_TARGETS(first, second, "r2", "r3", "r0", "r1", "lr")

/* The sums of 16 targets are in r4 to r11 while rows of weights at lr pass by: r2 is the next spike. On
 * the stack: the argument, and where spikes end. */
__attribute__((naked)) static void add_tiles(l2mu_powers_t *p)
{
    __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
                     "    ldr    r1, [r0, #20]\n"
                     "    push   {r0, r1}\n"
                     "    ldr    r12, [r0, #28]\n"
                     "1:  ldr    lr, [r0, #8]\n"
                     "    ldr    r4, [r0, #24]\n"
                     "    rsb    r4, r4, #0\n"
                     "    pkhbt  r4, r4, r4, lsl #16\n"
                     "    ldrd   r2, r3, [r0, #16]\n"
                     "    mov    r5, r4\n"
                     "    mov    r6, r4\n"
                     "    mov    r7, r4\n"
                     "    mov    r8, r4\n"
                     "    mov    r9, r4\n"
                     "    mov    r10, r4\n"
                     "    mov    r11, r4\n"
                     "    eor    r0, r2, r3\n"
                     "    lsls   r0, r0, #30\n"
                     "    bmi    3f\n"
                     "2:\n" ROW
                     "3:\n" ROW
                     "    ldr    r3, [sp, #4]\n"
                     "    cmp    r2, r3\n"
                     "    bne    2b\n"
                     "    ldr    r0, [sp]\n"
                     "    ldr    r1, [r0, #12]\n"
                     "    add    lr, lr, r1\n"
                     "    str    lr, [r0, #8]\n"
                     "    ldrd   r2, r3, [r0]\n"
                     FOUR("r4", "r5") FOUR("r6", "r7") FOUR("r8", "r9") FOUR("r10", "r11")
                     "    ldr    r0, [sp]\n"
                     "    strd   r2, r3, [r0]\n"
                     "    ldr    r1, [r0, #32]\n"
                     "    cmp    r2, r1\n"
                     "    bne    1b\n"
                     "    add    sp, sp, #8\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

void l2mu_accumulate_dense_s4_i16_dsp(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_accumulate_powers(p, v, spikes, add_tiles);
}
