/* For processors with the DSP extension (Armv7E-M, Armv8-M): two int16 sums in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* Registers: r0 starts of sources, r1 targets, r2 the next spike, r3 how many are left; of one source r7
 * the next delta, r8 tiles, r9 the next weights. What weights and deltas begin at is on the stack. */
#define ENTER                                                        \
    "    ldrh   r3, [r2], #2\n"                                      \
    "    cmp    r3, #0\n"                                            \
    "    it     eq\n"                                                \
    "    bxeq   lr\n"                                                \
    "    push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"            \
    "    ldrd   r4, r5, [r0]\n"                                      \
    "    ldr    r0, [r0, #8]\n"                                      \
    "    push   {r4, r5, r6}\n"                                      \
    "1:  ldrh   r7, [r2], #2\n"                                      \
    "    add    r8, r0, r7, lsl #1\n"                                \
    "    ldrh   r7, [r8]\n"                                          \
    "    ldrh   r8, [r8, #2]\n"                                      \
    "    ldrd   r9, r12, [sp]\n"                                     \
    "    sub    r8, r8, r7\n"

#define LEAVE                                          \
    "    subs   r3, r3, #1\n"                          \
    "    bne    1b\n"                                  \
    "    add    sp, sp, #12\n"                         \
    "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"

/* A weight, of those in r5, to a target whose index moves on by a delta, of those in r4. */
#define ONE(turn)                            \
    "    uxtab  r6, r6, r4" turn "\n"        \
    "    ldrh   r10, [r1, r6, lsl #1]\n"     \
    "    sxtab  r10, r10, r5" turn "\n"      \
    "    strh   r10, [r1, r6, lsl #1]\n"

__attribute__((naked))
void l2mu_accumulate_sparse1_i8_i16_dsp(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    __asm__ volatile(ENTER
                     "    add    r9, r9, r7\n"
                     "    add    r7, r12, r7\n"
                     "    mov    r6, #0\n"
                     "    subs   r8, r8, #4\n"
                     "    blo    3f\n"
                     "2:  ldr    r4, [r7], #4\n"
                     "    ldr    r5, [r9], #4\n"
                     ONE("") ONE(", ror #8") ONE(", ror #16") ONE(", ror #24")
                     "    subs   r8, r8, #4\n"
                     "    bhs    2b\n"
                     "3:  lsls   r8, r8, #31\n"
                     "    bcc    4f\n"
                     "    ldrh   r4, [r7], #2\n"
                     "    ldrh   r5, [r9], #2\n"
                     ONE("") ONE(", ror #8")
                     "4:  bpl    5f\n"
                     "    ldrb   r4, [r7]\n"
                     "    ldrb   r5, [r9]\n"
                     ONE("")
                     "5:\n" LEAVE);
}

/* Four weights, stored 0, 2, 1, 3. */
#define FOUR                             \
    "    ldrb   r4, [r7], #1\n"          \
    "    ldr    r5, [r9], #4\n"          \
    "    add    r6, r6, r4, lsl #3\n"    \
    "    ldrd   r10, r11, [r6]\n"        \
    "    sxtab16 r10, r10, r5\n"         \
    "    sxtab16 r11, r11, r5, ror #8\n" \
    "    strd   r10, r11, [r6]\n"

__attribute__((naked))
void l2mu_accumulate_sparse4_i8_i16_dsp(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    __asm__ volatile(ENTER
                     "    cmp    r8, #0\n"
                     "    beq    4f\n"
                     "    add    r9, r9, r7, lsl #2\n"
                     "    add    r7, r12, r7\n"
                     "    mov    r6, r1\n"
                     "    lsls   r12, r8, #31\n"
                     "    bmi    3f\n"
                     "2:\n" FOUR
                     "3:\n" FOUR
                     "    subs   r8, r8, #2\n"
                     "    bgt    2b\n"
                     "4:\n" LEAVE);
}

/* Twice four. */
#define EIGHT                                \
    "    ldrb   r4, [r7], #1\n"              \
    "    add    r6, r6, r4, lsl #4\n"        \
    "    ldrd   r4, r5, [r9], #8\n"          \
    "    ldm    r6, {r10, r11, r12, lr}\n"   \
    "    sxtab16 r10, r10, r4\n"             \
    "    sxtab16 r11, r11, r4, ror #8\n"     \
    "    sxtab16 r12, r12, r5\n"             \
    "    sxtab16 lr, lr, r5, ror #8\n"       \
    "    stm    r6, {r10, r11, r12, lr}\n"

__attribute__((naked))
void l2mu_accumulate_sparse8_i8_i16_dsp(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    __asm__ volatile(ENTER
                     "    cmp    r8, #0\n"
                     "    beq    4f\n"
                     "    add    r9, r9, r7, lsl #3\n"
                     "    add    r7, r12, r7\n"
                     "    mov    r6, r1\n"
                     "    lsls   r12, r8, #31\n"
                     "    bmi    3f\n"
                     "2:\n" EIGHT
                     "3:\n" EIGHT
                     "    subs   r8, r8, #2\n"
                     "    bgt    2b\n"
                     "4:\n" LEAVE);
}
