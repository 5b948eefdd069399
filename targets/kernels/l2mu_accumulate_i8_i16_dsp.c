/* For processors with the DSP extension (Armv7E-M, Armv8-M): two int16 sums in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <arm_acle.h>
#include <stdbool.h>
#include <string.h>

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* Add four weights, stored 0, 2, 1, 3, to two pairs of sums. */
static inline void add_four(uint32_t *sums, uint32_t weights)
{
    const uint32_t odd = (weights >> 8U) | (weights << 24U);
    sums[0] = (uint32_t)__sxtab16((int16x2_t)sums[0], (int8x4_t)weights);
    sums[1] = (uint32_t)__sxtab16((int16x2_t)sums[1], (int8x4_t)odd);
}

#define TILE 16U
#define ROWS 16U /* that are added to a tile while its sums are in registers */

/* What the assembly works on. */
typedef struct {
    int16_t *v;
    const int16_t *end; /* of the last tile */
    const uint16_t *spikes;
    size_t count; /* of spikes: from 1 to ROWS */
    const int8_t *weights;
    size_t stride; /* from one row of weights to the next */
} tiles_t;

/* 16 weights of the row at `address`, which is moved on to the next tile. */
#define ROW(address)                                    \
    "    ldm    " address "!, {r2, r3, r12, lr}\n"      \
    "    sxtab16 r4, r4, r2\n"                          \
    "    sxtab16 r5, r5, r2, ror #8\n"                  \
    "    sxtab16 r6, r6, r3\n"                          \
    "    sxtab16 r7, r7, r3, ror #8\n"                  \
    "    sxtab16 r8, r8, r12\n"                         \
    "    sxtab16 r9, r9, r12, ror #8\n"                 \
    "    sxtab16 r10, r10, lr\n"                        \
    "    sxtab16 r11, r11, lr, ror #8\n"

/* Two rows, whose addresses are at such an offset on the stack: 80 bytes of code. */
#define PAIR(offset)                                                                            \
    "    ldrd   r0, r1, [sp, #" offset "]\n" ROW("r0") ROW("r1") "    strd   r0, r1, [sp, #" offset "]\n"

/* The sums of 16 targets stay in r4 to r11 while all rows pass by. On the stack: where the next tile and
 * the last one end, where the first row is added and where the first pair of rows is; the address of the
 * first row if their number is odd; and at the end those of the pairs, as many as there are. */
__attribute__((naked)) static void add_tiles(const tiles_t *p)
{
    __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
                     "    sub    sp, sp, #84\n"
                     "    ldm    r0, {r0, r1, r2, r3, r4, r5}\n"
                     "    add    r6, sp, #84\n"
                     "    lsrs   r7, r3, #1\n"
                     "    mov    r9, #80\n"
                     "    adr.w  r8, 4f\n"
                     "    mls    r9, r7, r9, r8\n"
                     "    add    r9, r9, #1\n"
                     "    mov    r8, r9\n"
                     "    bcc    1f\n"
                     "    ldrh   r10, [r2], #2\n"
                     "    mla    r10, r10, r5, r4\n"
                     "    str    r10, [sp, #16]\n"
                     "    adr.w  r8, 3f\n"
                     "    add    r8, r8, #1\n"
                     "1:  strd   r0, r1, [sp]\n"
                     "    strd   r8, r9, [sp, #8]\n"
                     "    cbz    r7, 2f\n"
                     "1:  ldrh   r8, [r2], #2\n"
                     "    ldrh   r9, [r2], #2\n"
                     "    mla    r8, r8, r5, r4\n"
                     "    mla    r9, r9, r5, r4\n"
                     "    stmdb  r6!, {r8, r9}\n"
                     "    subs   r7, r7, #1\n"
                     "    bne    1b\n"
                     "2:  ldm    r0, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    ldr    pc, [sp, #8]\n"
                     "3:  ldr    r0, [sp, #16]\n" ROW("r0")
                     "    str    r0, [sp, #16]\n"
                     "    ldr    pc, [sp, #12]\n"
                     PAIR("20") PAIR("28") PAIR("36") PAIR("44")
                     PAIR("52") PAIR("60") PAIR("68") PAIR("76")
                     "4:  ldrd   r0, r1, [sp]\n"
                     "    stm    r0!, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    str    r0, [sp]\n"
                     "    cmp    r0, r1\n"
                     "    bne    2b\n"
                     "    add    sp, sp, #84\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

static void add_tile_of_8(int16_t *v, const int8_t *weights, size_t stride, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    uint32_t *const pairs = (uint32_t *)(void *)v;
    uint32_t sums[4] = {pairs[0], pairs[1], pairs[2], pairs[3]};
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t *const row = (const uint32_t *)(const void *)&weights[*spike * stride];
        add_four(&sums[0], row[0]);
        add_four(&sums[2], row[1]);
    }
    pairs[0] = sums[0];
    pairs[1] = sums[1];
    pairs[2] = sums[2];
    pairs[3] = sums[3];
}

void l2mu_accumulate_dense_i8_i16_dsp(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const size_t stride = (p->targets + 7U) / 8U * 8U;
    const size_t tiled = stride / TILE * TILE;
    size_t left = (tiled == 0U) ? 0U : spikes[0];
    tiles_t tiles = {v, &v[tiled], &spikes[1], ROWS, p->weights, stride};
    while (left > 0U) {
        tiles.count = (left < ROWS) ? left : ROWS;
        add_tiles(&tiles);
        tiles.spikes += tiles.count;
        left -= tiles.count;
    }
    if ((stride != tiled) && (spikes[0] != 0U)) {
        add_tile_of_8(&v[tiled], &p->weights[tiled], stride, spikes);
    }
}

/* Four weights to four neighbours, wherever they lie. */
static inline void add_quad(int16_t *v, const int8_t *weights)
{
    uint32_t sums[2];
    (void)memcpy(sums, v, sizeof sums);
    add_four(sums, *(const uint32_t *)(const void *)weights);
    (void)memcpy(v, sums, sizeof sums);
}

/* Whole fours; the last is of the last targets, with weights of zero for those that are in another. */
static inline void add_block_row(int16_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    for (; (row + 4U) < rows; row += 4U) {
        add_quad(&v[row], &weights[row]);
    }
    if (rows >= 4U) {
        add_quad(&v[rows - 4U], &weights[row]);
    } else {
        for (; row < rows; ++row) {
            v[row] = (int16_t)(v[row] + weights[row]);
        }
    }
}

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

/* `fours` is how many fours are in a row, if that is known when this is compiled, or else 0. */
ALWAYS_INLINE void add_rows(int16_t *v, size_t rows, uint32_t columns, const int8_t *weights,
                            const uint16_t *spikes, bool shared, size_t fours)
{
    const size_t row_bytes = (rows < 4U) ? rows : ((rows + 3U) / 4U * 4U);
    const uint32_t inverse = UINT32_MAX / columns; /* for a quotient without a division */
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t source = *spike;
        const uint32_t block = (uint32_t)(((source + 1U) * (uint64_t)inverse) >> 32U);
        const uint32_t row = shared ? (source - (block * columns)) : source;
        const int8_t *const first = &weights[row * row_bytes];
        int16_t *const target = &v[block * rows];
        if (fours == 1U) {
            add_four((uint32_t *)(void *)target, *(const uint32_t *)(const void *)first);
        } else if (fours == 2U) {
            add_quad(target, first);
            add_quad(&target[rows - 4U], &first[4]);
        } else {
            add_block_row(target, first, rows);
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
