/* For Armv6-M, which has no packed additions: two int16 sums in a word.
 *
 * Weights of fours are stored plus 128, as bytes without sign: the first and third of a word, and after a
 * shift the other two, are 2^16 apart. Two int16 in a word w are (w ^ 2^15) - 2^15 in this sense, and
 * with them a sum beyond int16, which there never is, would be the only one to carry. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define PUSH                              \
    "    .syntax unified\n"               \
    "    push   {r4, r5, r6, r7, lr}\n"   \
    "    mov    r4, r8\n"                 \
    "    mov    r5, r9\n"                 \
    "    mov    r6, r10\n"                \
    "    mov    r7, r11\n"                \
    "    push   {r4, r5, r6, r7}\n"

#define POP                               \
    "    pop    {r4, r5, r6, r7}\n"       \
    "    mov    r8, r4\n"                 \
    "    mov    r9, r5\n"                 \
    "    mov    r10, r6\n"                \
    "    mov    r11, r7\n"                \
    "    pop    {r4, r5, r6, r7, pc}\n"

/* A weight, r4 bytes after its delta at r3, to a target at r1 once that has moved on. */
#define ONE                          \
    "    ldrb   r5, [r3]\n"          \
    "    ldrsb  r6, [r3, r4]\n"      \
    "    adds   r3, r3, #1\n"        \
    "    lsls   r5, r5, #1\n"        \
    "    ldrh   r7, [r1, r5]\n"      \
    "    adds   r7, r7, r6\n"        \
    "    strh   r7, [r1, r5]\n"      \
    "    adds   r1, r1, r5\n"

/* r0 is the next spike and r11 where they end, r8 starts of sources, r9 targets, r10 deltas; of one
 * source r2 is where its deltas end. */
__attribute__((naked))
void l2mu_accumulate_sparse1_i8_i16_m0(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    __asm__ volatile(PUSH
                     "    mov    r9, r1\n"
                     "    ldr    r4, [r0]\n"
                     "    ldr    r5, [r0, #4]\n"
                     "    ldr    r6, [r0, #8]\n"
                     "    subs   r4, r4, r5\n"
                     "    mov    r10, r5\n"
                     "    mov    r8, r6\n"
                     "    ldrh   r5, [r2]\n"
                     "    adds   r0, r2, #2\n"
                     "    lsls   r5, r5, #1\n"
                     "    adds   r5, r5, r0\n"
                     "    mov    r11, r5\n"
                     "    b      4f\n"
                     "1:  ldrh   r5, [r0]\n"
                     "    adds   r0, r0, #2\n"
                     "    lsls   r5, r5, #1\n"
                     "    add    r5, r5, r8\n"
                     "    ldrh   r3, [r5]\n"
                     "    ldrh   r2, [r5, #2]\n"
                     "    mov    r1, r9\n"
                     "    subs   r6, r2, r3\n"
                     "    beq    4f\n"
                     "    add    r3, r3, r10\n"
                     "    add    r2, r2, r10\n"
                     "    lsls   r6, r6, #31\n"
                     "    bne    3f\n"
                     "2:\n" ONE
                     "3:\n" ONE
                     "    cmp    r3, r2\n"
                     "    bne    2b\n"
                     "4:  cmp    r0, r11\n"
                     "    bne    1b\n"
                     POP);
}

/* Two weights, 2^16 apart and each plus 128, to two targets; r0 is 2^15. */
#define PAIR(weights, offset)                        \
    "    ldr    r7, [r1, #" offset "]\n"             \
    "    eors   r7, r0\n"                            \
    "    adds   " weights ", " weights ", r7\n"      \
    "    add    " weights ", " weights ", r12\n"     \
    "    eors   " weights ", r0\n"                   \
    "    str    " weights ", [r1, #" offset "]\n"

/* r1 moves along the targets, r2 has the bits of every other byte, r3 is the next delta, r4 the next
 * weights, r8 where deltas end; r9 is the next spike and r10 where they end, r11 starts of sources, lr
 * targets, r12 minus 128 for two weights. What weights and deltas begin at is on the stack. */
__attribute__((naked))
void l2mu_accumulate_sparse4_i8_i16_m0(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    __asm__ volatile(PUSH
                     "    mov    lr, r1\n"
                     "    ldr    r4, [r0]\n"
                     "    ldr    r5, [r0, #4]\n"
                     "    ldr    r6, [r0, #8]\n"
                     "    push   {r4, r5}\n"
                     "    mov    r11, r6\n"
                     "    ldrh   r5, [r2]\n"
                     "    adds   r2, r2, #2\n"
                     "    mov    r9, r2\n"
                     "    lsls   r5, r5, #1\n"
                     "    adds   r5, r5, r2\n"
                     "    mov    r10, r5\n"
                     "    movs   r0, #128\n"
                     "    lsls   r5, r0, #16\n"
                     "    adds   r5, r5, r0\n"
                     "    rsbs   r5, r5, #0\n"
                     "    mov    r12, r5\n"
                     "    lsls   r0, r0, #8\n"
                     "    movs   r2, #255\n"
                     "    lsls   r5, r2, #16\n"
                     "    adds   r2, r2, r5\n"
                     "    b      3f\n"
                     "1:  mov    r7, r9\n"
                     "    ldrh   r5, [r7]\n"
                     "    adds   r7, r7, #2\n"
                     "    mov    r9, r7\n"
                     "    lsls   r5, r5, #1\n"
                     "    add    r5, r5, r11\n"
                     "    ldrh   r3, [r5]\n"
                     "    ldrh   r5, [r5, #2]\n"
                     "    cmp    r3, r5\n"
                     "    beq    3f\n"
                     "    ldr    r4, [sp]\n"
                     "    ldr    r6, [sp, #4]\n"
                     "    lsls   r7, r3, #2\n"
                     "    adds   r4, r4, r7\n"
                     "    adds   r3, r3, r6\n"
                     "    adds   r5, r5, r6\n"
                     "    mov    r8, r5\n"
                     "    mov    r1, lr\n"
                     "2:  ldrb   r6, [r3]\n"
                     "    adds   r3, r3, #1\n"
                     "    lsls   r6, r6, #3\n"
                     "    adds   r1, r1, r6\n"
                     "    ldm    r4!, {r5}\n"
                     "    lsrs   r6, r5, #8\n"
                     "    ands   r5, r2\n"
                     "    ands   r6, r2\n"
                     PAIR("r5", "0") PAIR("r6", "4")
                     "    cmp    r3, r8\n"
                     "    bne    2b\n"
                     "3:  cmp    r9, r10\n"
                     "    bne    1b\n"
                     "    add    sp, sp, #8\n"
                     POP);
}
