/* For processors with the DSP extension (Armv7E-M, Armv8-M): two int16 sums in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <arm_acle.h>
#include <stdbool.h>
#include <string.h>

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* 16 weights of the row at `address`, which is moved on to the next tile. */
#define ROW(address)                               \
    "    ldm    " address "!, {r2, r3, r12, lr}\n" \
    "    sxtab16 r4, r4, r2\n"                     \
    "    sxtab16 r5, r5, r2, ror #8\n"             \
    "    sxtab16 r6, r6, r3\n"                     \
    "    sxtab16 r7, r7, r3, ror #8\n"             \
    "    sxtab16 r8, r8, r12\n"                    \
    "    sxtab16 r9, r9, r12, ror #8\n"            \
    "    sxtab16 r10, r10, lr\n"                   \
    "    sxtab16 r11, r11, lr, ror #8\n"

/* Two rows, whose addresses are on the stack: 80 bytes of code. */
#define PAIR(offset)                           \
    "    ldrd   r0, r1, [sp, #" offset "]\n"   \
    ROW("r0") ROW("r1")                        \
    "    strd   r0, r1, [sp, #" offset "]\n"

/* The last 8 weights of a row. */
#define HALF_ROW(address)                \
    "    ldm    " address ", {r2, r3}\n" \
    "    sxtab16 r4, r4, r2\n"           \
    "    sxtab16 r5, r5, r2, ror #8\n"   \
    "    sxtab16 r6, r6, r3\n"           \
    "    sxtab16 r7, r7, r3, ror #8\n"

/* Up to 32 rows are added to a tile of 16 targets while its sums are in r4 to r11. On the stack:
 *   0 where the next tile is and the last one ends
 *   8 where rows begin to be added: at 5, or at some pair; and at which pair
 *   16 the address of the first row, if their number is odd
 *   20 where the addresses of the others begin, which end at 172
 *   24 the targets, the number of spikes left, and where they are
 *   36 the weights, and bytes in a row of them. */
__attribute__((naked))
void l2mu_accumulate_dense_i8_i16_dsp(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    __asm__ volatile("    ldrh   r3, [r2], #2\n"
                     "    cbnz   r3, 1f\n"
                     "    bx     lr\n"
                     "1:  push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
                     "    sub    sp, sp, #172\n"
                     "    ldrh   r5, [r0, #4]\n"
                     "    ldr    r4, [r0]\n"
                     "    add    r5, r5, #7\n"
                     "    bic    r5, r5, #7\n"
                     "    strd   r4, r5, [sp, #36]\n"
                     "    lsr    r0, r5, #4\n"
                     "    add    r0, r1, r0, lsl #5\n"
                     "    str    r0, [sp, #4]\n"
                     "    str    r1, [sp, #24]\n"
                     /* The addresses of rows. */
                     "2:  mov    r7, r3\n"
                     "    cmp    r7, #32\n"
                     "    it     hi\n"
                     "    movhi  r7, #32\n"
                     "    sub    r3, r3, r7\n"
                     "    add    r6, sp, #172\n"
                     "    adr.w  r9, 7f\n"
                     "    lsrs   r7, r7, #1\n"
                     "    mov    r8, #80\n"
                     "    mls    r9, r7, r8, r9\n"
                     "    add    r9, r9, #1\n"
                     "    mov    r8, r9\n"
                     "    bcc    3f\n"
                     "    ldrh   r10, [r2], #2\n"
                     "    mla    r10, r10, r5, r4\n"
                     "    str    r10, [sp, #16]\n"
                     "    adr.w  r8, 6f\n"
                     "    add    r8, r8, #1\n"
                     "3:  strd   r8, r9, [sp, #8]\n"
                     "    cbz    r7, 4f\n"
                     "3:  ldrh   r8, [r2], #2\n"
                     "    ldrh   r9, [r2], #2\n"
                     "    mla    r8, r8, r5, r4\n"
                     "    mla    r9, r9, r5, r4\n"
                     "    stmdb  r6!, {r8, r9}\n"
                     "    subs   r7, r7, #1\n"
                     "    bne    3b\n"
                     "4:  str    r6, [sp, #20]\n"
                     "    strd   r3, r2, [sp, #28]\n"
                     "    mov    r0, r1\n"
                     "    ldr    r1, [sp, #4]\n"
                     "    cmp    r0, r1\n"
                     "    beq    8f\n"
                     /* Tiles. */
                     "5:  ldm    r0, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    str    r0, [sp]\n"
                     "    ldr    pc, [sp, #8]\n"
                     "6:  ldr    r0, [sp, #16]\n"
                     ROW("r0")
                     "    str    r0, [sp, #16]\n"
                     "    ldr    pc, [sp, #12]\n"
                     PAIR("44") PAIR("52") PAIR("60") PAIR("68")
                     PAIR("76") PAIR("84") PAIR("92") PAIR("100")
                     PAIR("108") PAIR("116") PAIR("124") PAIR("132")
                     PAIR("140") PAIR("148") PAIR("156") PAIR("164")
                     "7:  ldrd   r0, r1, [sp]\n"
                     "    stm    r0!, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    cmp    r0, r1\n"
                     "    bne    5b\n"
                     /* Eight targets that are left. */
                     "8:  ldr    r5, [sp, #40]\n"
                     "    tst    r5, #8\n"
                     "    beq    3f\n"
                     "    ldr    r8, [sp, #20]\n"
                     "    add    r9, sp, #172\n"
                     "    ldm    r0, {r4, r5, r6, r7}\n"
                     "    ldrd   r2, r3, [sp, #8]\n"
                     "    cmp    r2, r3\n"
                     "    beq    1f\n"
                     "    ldr    r1, [sp, #16]\n"
                     HALF_ROW("r1")
                     "1:  cmp    r8, r9\n"
                     "    beq    9f\n"
                     "    ldm    r8!, {r1, r12}\n"
                     HALF_ROW("r1") HALF_ROW("r12")
                     "    b      1b\n"
                     "9:  stm    r0, {r4, r5, r6, r7}\n"
                     "3:  ldrd   r1, r3, [sp, #24]\n"
                     "    cmp    r3, #0\n"
                     "    beq    4f\n"
                     "    ldrd   r2, r4, [sp, #32]\n"
                     "    ldr    r5, [sp, #40]\n"
                     "    b      2b\n"
                     "4:  add    sp, sp, #172\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

/* Add four weights, stored 0, 2, 1, 3, to two pairs of sums. */
static inline void add_four(uint32_t *sums, uint32_t weights)
{
    const uint32_t odd = (weights >> 8U) | (weights << 24U);
    sums[0] = (uint32_t)__sxtab16((int16x2_t)sums[0], (int8x4_t)weights);
    sums[1] = (uint32_t)__sxtab16((int16x2_t)sums[1], (int8x4_t)odd);
}

/* Four weights to four neighbours, wherever they lie. */
static inline void add_quad(int16_t *v, uint32_t weights)
{
    uint32_t sums[2];
    (void)memcpy(sums, v, sizeof sums);
    add_four(sums, weights);
    (void)memcpy(v, sums, sizeof sums);
}

/* Whole fours; the last is of the last targets, with weights of zero for those that are in another. */
static inline void add_block_row(int16_t *v, const int8_t *weights, size_t rows)
{
    const uint32_t *four = (const uint32_t *)(const void *)weights;
    size_t row = 0;
    if (rows < 4U) {
        for (; row < rows; ++row) {
            v[row] = (int16_t)(v[row] + weights[row]);
        }
        return;
    }
    for (; (row + 4U) < rows; row += 4U) {
        add_quad(&v[row], *four);
        ++four;
    }
    add_quad(&v[rows - 4U], *four);
}

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

/* An address is computed once: compilers would do it again for every load. */
#define IN_REGISTER(pointer) __asm__("" : "+r"(pointer))

/* `fours` is how many fours are in a row, if that is known when this is compiled, or else 0. */
ALWAYS_INLINE void add_rows(int16_t *v, size_t rows, uint32_t columns, const int8_t *weights,
                            const uint16_t *spikes, bool shared, size_t fours)
{
    const size_t row_bytes = (rows < 4U) ? rows : ((rows + 3U) / 4U * 4U);
    const uint32_t inverse = UINT32_MAX / columns; /* for a quotient without a division */
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U; --left) {
        const uint32_t source = *spike;
        const uint32_t block = (uint32_t)(((source + 1U) * (uint64_t)inverse) >> 32U);
        const uint32_t row = shared ? (source - (block * columns)) : source;
        const uint32_t *four = (const uint32_t *)(const void *)&weights[row * row_bytes];
        int16_t *target = &v[block * rows];
        IN_REGISTER(four);
        IN_REGISTER(target);
        ++spike;
        IN_REGISTER(spike);
        if (fours == 1U) {
            add_four((uint32_t *)(void *)target, *four);
        } else if (fours == 2U) {
            const uint32_t two[2] = {four[0], four[1]};
            add_quad(target, two[0]);
            add_quad(&target[rows - 4U], two[1]);
        } else {
            add_block_row(target, (const int8_t *)four, rows);
        }
    }
}

ALWAYS_INLINE void add_blocks(int16_t *v, size_t rows, uint32_t columns, const int8_t *weights,
                              const uint16_t *spikes, bool shared)
{
    if (rows == 4U) {
        add_rows(v, 4U, columns, weights, spikes, shared, 1U);
    } else if ((rows > 4U) && (rows <= 8U)) {
        add_rows(v, rows, columns, weights, spikes, shared, 2U);
    } else {
        add_rows(v, rows, columns, weights, spikes, shared, 0U);
    }
}

void l2mu_accumulate_shared_i8_i16_dsp(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    add_blocks(v, rows, columns, weights, spikes, true);
}

void l2mu_accumulate_distinct_i8_i16_dsp(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    add_blocks(v, rows, columns, weights, spikes, false);
}
