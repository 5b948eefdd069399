/* For Armv6-M: a byte of two weights is looked up as two numbers of 16 bits, which a word adds up. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_powers.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define OFFSET(bytes) "[r0, #" #bytes "]"

/* A byte of the row at r0 to two sums. */
#define BYTE(offset, sums)                 \
    "    ldrb   r1, [r0, #" offset "]\n"   \
    "    lsls   r1, r1, #2\n"              \
    "    ldr    r1, [r7, r1]\n"            \
    "    add    " sums ", " sums ", r1\n"

#define ROW(spike)                         \
    "    ldrh   r0, [r3, #" #spike "]\n"   \
    "    lsls   r0, r0, #3\n"              \
    "    adds   r0, r0, r4\n"              \
    BYTE("0", "r5") BYTE("1", "r6") BYTE("2", "r8") BYTE("3", "r9") \
    BYTE("4", "r10") BYTE("5", "r11") BYTE("6", "r12") BYTE("7", "lr")

/* Two sums to two targets. */
#define FINISH(sums, first, second) \
    "    mov    r2, " sums "\n"     \
    "    uxth   r0, r2\n"           \
    L2MU_TARGET(first)              \
    "    lsrs   r0, r2, #16\n"      \
    L2MU_TARGET(second)

/* The sums of 16 targets are in r5, r6 and r8 to lr while the rows of all spikes pass by: r3 is the next
 * spike, r4 the tile's weights. On the stack: the argument. */
__attribute__((naked)) static void add_tiles(l2mu_powers_t *p)
{
    __asm__ volatile("    .syntax unified\n"
                     "    push   {r4, r5, r6, r7, lr}\n"
                     "    mov    r4, r8\n"
                     "    mov    r5, r9\n"
                     "    mov    r6, r10\n"
                     "    mov    r7, r11\n"
                     "    push   {r0, r4, r5, r6, r7}\n"
                     "1:  ldr    r2, " OFFSET(20) "\n"
                     "    ldr    r3, " OFFSET(16) "\n"
                     "    ldr    r4, " OFFSET(8) "\n"
                     "    ldr    r7, " OFFSET(28) "\n"
                     "    movs   r5, #0\n"
                     "    movs   r6, #0\n"
                     "    mov    r8, r5\n"
                     "    mov    r9, r5\n"
                     "    mov    r10, r5\n"
                     "    mov    r11, r5\n"
                     "    mov    r12, r5\n"
                     "    mov    lr, r5\n"
                     "    subs   r0, r2, r3\n"
                     "    lsls   r0, r0, #30\n"
                     "    bpl    2f\n"
                     "    subs   r3, r3, #2\n"
                     "    b      3f\n"
                     "2:\n" ROW(0)
                     "3:\n" ROW(2)
                     "    adds   r3, r3, #4\n"
                     "    cmp    r3, r2\n"
                     "    bne    2b\n"
                     "    ldr    r0, [sp]\n"
                     "    ldr    r1, " OFFSET(12) "\n"
                     "    adds   r4, r4, r1\n"
                     "    str    r4, " OFFSET(8) "\n"
                     "    ldr    r3, " OFFSET(0) "\n"
                     "    ldr    r4, " OFFSET(4) "\n"
                     "    ldr    r7, " OFFSET(24) "\n"
                     FINISH("r5", "0", "2") FINISH("r6", "4", "6")
                     FINISH("r8", "8", "10") FINISH("r9", "12", "14")
                     FINISH("r10", "16", "18") FINISH("r11", "20", "22")
                     FINISH("r12", "24", "26") FINISH("lr", "28", "30")
                     "    ldr    r0, [sp]\n"
                     "    adds   r3, r3, #32\n"
                     "    adds   r4, r4, #32\n"
                     "    str    r3, " OFFSET(0) "\n"
                     "    str    r4, " OFFSET(4) "\n"
                     "    ldr    r1, " OFFSET(32) "\n"
                     "    cmp    r3, r1\n"
                     "    beq    4f\n"
                     "    b      1b\n"
                     "4:  pop    {r0, r4, r5, r6, r7}\n"
                     "    mov    r8, r4\n"
                     "    mov    r9, r5\n"
                     "    mov    r10, r6\n"
                     "    mov    r11, r7\n"
                     "    pop    {r4, r5, r6, r7, pc}\n");
}

void l2mu_accumulate_dense_s4_i16_m0(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_accumulate_powers(p, v, spikes, add_tiles);
}
