/* For processors with the DSP extension (Armv7E-M, Armv8-M): two int16 sums in a register. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <arm_acle.h>
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

/* What the assembly works on. */
typedef struct {
    int16_t *v;
    const int16_t *v_end;
    const uint16_t *spikes;
    size_t tile_bytes; /* from the weights of one tile to those of the next */
    const uint16_t *spikes_end;
    size_t room; /* for where a tile begins */
    const int8_t *weights;
} tiles_t;

/* One row: its address, one load of 16 weights, eight additions. */
#define ROW                                \
    "    ldrh   r0, [r12], #2\n"           \
    "    add    r0, lr, r0, lsl #4\n"      \
    "    ldm    r0, {r0, r1, r2, r3}\n"    \
    "    sxtab16 r4, r4, r0\n"             \
    "    sxtab16 r5, r5, r0, ror #8\n"     \
    "    sxtab16 r6, r6, r1\n"             \
    "    sxtab16 r7, r7, r1, ror #8\n"     \
    "    sxtab16 r8, r8, r2\n"             \
    "    sxtab16 r9, r9, r2, ror #8\n"     \
    "    sxtab16 r10, r10, r3\n"           \
    "    sxtab16 r11, r11, r3, ror #8\n"

/* The sums of 16 targets stay in r4 to r11 while the rows of all spikes, at least one, pass by: r12 is the
 * next spike, lr the tile's weights. The first time round enters where the number of rows left is a
 * multiple of eight. On the stack: tiles_t. */
__attribute__((naked)) static void add_tiles(const tiles_t *p)
{
    __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n"
                     "    ldm    r0, {r4, r5, r6, r7, r8, r9, lr}\n"
                     "    sub    r1, r8, r6\n"
                     "    ubfx   r1, r1, #1, #3\n"
                     "    adr    r2, 6f\n"
                     "    ldr    r9, [r2, r1, lsl #2]\n"
                     "    add    r9, r9, r2\n"
                     "    push   {r4, r5, r6, r7, r8, r9}\n"
                     "    mov    r0, r4\n"
                     "    mov    r12, r6\n"
                     "1:  ldm    r0, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    ldr    pc, [sp, #20]\n"
                     "    .p2align 2\n"
                     "6:  .word  20f - 6b + 1, 27f - 6b + 1, 26f - 6b + 1, 25f - 6b + 1\n"
                     "    .word  24f - 6b + 1, 23f - 6b + 1, 22f - 6b + 1, 21f - 6b + 1\n"
                     "20:\n" ROW "21:\n" ROW "22:\n" ROW "23:\n" ROW
                     "24:\n" ROW "25:\n" ROW "26:\n" ROW "27:\n" ROW
                     "    ldr    r0, [sp, #16]\n"
                     "    cmp    r12, r0\n"
                     "    bne    20b\n"
                     "    ldrd   r0, r1, [sp]\n"
                     "    stm    r0!, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "    str    r0, [sp]\n"
                     "    cmp    r0, r1\n"
                     "    ldrd   r12, r1, [sp, #8]\n"
                     "    add    lr, lr, r1\n"
                     "    bne    1b\n"
                     "    add    sp, sp, #24\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}\n");
}

static void add_tile_of_8(int16_t *v, const int8_t *weights, const uint16_t *spike,
                          const uint16_t *end)
{
    const uint32_t *const row = (const uint32_t *)(const void *)weights;
    uint32_t *const pairs = (uint32_t *)(void *)v;
    uint32_t sums[4] = {pairs[0], pairs[1], pairs[2], pairs[3]};
    for (; spike != end; ++spike) {
        add_four(&sums[0], row[2U * *spike]);
        add_four(&sums[2], row[(2U * *spike) + 1U]);
    }
    pairs[0] = sums[0];
    pairs[1] = sums[1];
    pairs[2] = sums[2];
    pairs[3] = sums[3];
}

static void add_tile_of_4(int16_t *v, const int8_t *weights, const uint16_t *spike,
                          const uint16_t *end)
{
    const uint32_t *const row = (const uint32_t *)(const void *)weights;
    uint32_t *const pairs = (uint32_t *)(void *)v;
    uint32_t sums[2] = {pairs[0], pairs[1]};
    for (; spike != end; ++spike) {
        add_four(sums, row[*spike]);
    }
    pairs[0] = sums[0];
    pairs[1] = sums[1];
}

void l2mu_accumulate_dense_i8_i16_dsp(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *const spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    const int8_t *weights = p->weights;
    int16_t *target = v;
    int32_t left = p->targets;
    if (spike == end) {
        return;
    }
    const size_t tiles = (p->targets + 3U) / TILE;
    if (tiles > 0U) {
        const size_t tile_bytes = (size_t)TILE * p->sources;
        const tiles_t all = {v, &v[tiles * TILE], spike, tile_bytes, end, 0, weights};
        add_tiles(&all);
        weights += tiles * tile_bytes;
        target += tiles * TILE;
        left -= (int32_t)(tiles * TILE);
    }
    if (left > 4) {
        add_tile_of_8(target, weights, spike, end);
        weights += 8U * p->sources;
        target += 8;
        left -= 8;
    }
    if (left > 0) {
        add_tile_of_4(target, weights, spike, end);
    }
}

/* Four weights to four neighbours, wherever they lie. */
static inline void add_quad(int16_t *v, const int8_t *weights)
{
    uint32_t sums[2];
    uint32_t four;
    (void)memcpy(sums, v, sizeof sums);
    (void)memcpy(&four, weights, sizeof four);
    add_four(sums, four);
    (void)memcpy(v, sums, sizeof sums);
}

static inline void add_block_row(int16_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    for (; (row + 4U) <= rows; row += 4U) {
        add_quad(&v[row], &weights[row]);
    }
    for (; row < rows; ++row) {
        v[row] = (int16_t)(v[row] + weights[row]);
    }
}

void l2mu_accumulate_shared_i8_i16_dsp(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = (uint32_t)*spike / columns;
        const uint32_t column = *spike - (block * columns);
        add_block_row(&v[block * rows], &weights[column * rows], rows);
    }
}

void l2mu_accumulate_distinct_i8_i16_dsp(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = (uint32_t)*spike / columns;
        add_block_row(&v[block * rows], &weights[(uint32_t)*spike * rows], rows);
    }
}
