/* For processors with the DSP extension (Armv7E-M, Armv8-M): two int16 sums in a register. */
#include <arm_acle.h>

#include "l2mu_kernels.h"

#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension"
#endif

/* Add four weights, stored 0, 2, 1, 3, to two pairs of sums. */
static inline void add_four(uint32_t *sums, uint32_t weights)
{
    sums[0] = (uint32_t)__sxtab16((int16x2_t)sums[0], (int8x4_t)weights);
    sums[1] = (uint32_t)__sxtab16((int16x2_t)sums[1], (int8x4_t)__ror(weights, 8U));
}

/* Sums of 16 targets stay in eight registers while the rows of all spikes pass by. Per row: its
 * address, one load of 16 weights, eight additions. */
__attribute__((naked)) static void add_tile_of_16(int16_t *v, const int8_t *weights,
                                                  const uint16_t *spike, const uint16_t *end)
{
    __asm__ volatile(
        ".macro l2mu_row\n"
        "    ldrh   r0, [r12], #2\n"
        "    add    r0, lr, r0, lsl #4\n"
        "    ldm    r0, {r0, r1, r2, r3}\n"
        "    sxtab16 r4, r4, r0\n"
        "    sxtab16 r5, r5, r0, ror #8\n"
        "    sxtab16 r6, r6, r1\n"
        "    sxtab16 r7, r7, r1, ror #8\n"
        "    sxtab16 r8, r8, r2\n"
        "    sxtab16 r9, r9, r2, ror #8\n"
        "    sxtab16 r10, r10, r3\n"
        "    sxtab16 r11, r11, r3, ror #8\n"
        ".endm\n"
        "    push   {r0, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n"
        "    mov    r12, r2\n"
        "    mov    lr, r1\n"
        "    sub    r1, r3, r2\n"
        "    ubfx   r1, r1, #1, #2\n"
        "    ldm    r0, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
        "    tbb    [pc, r1]\n"
        "0:  .byte  (1f - 0b) / 2, (4f - 0b) / 2, (3f - 0b) / 2, (2f - 0b) / 2\n"
        "1:  l2mu_row\n"
        "2:  l2mu_row\n"
        "3:  l2mu_row\n"
        "4:  l2mu_row\n"
        "5:  ldr    r0, [sp, #4]\n"
        "    cmp    r12, r0\n"
        "    bne    1b\n"
        "    pop    {r0, r3}\n"
        "    stm    r0, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
        "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}\n"
        ".purgem l2mu_row\n");
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
    for (; left > 12; left -= 16) {
        add_tile_of_16(target, weights, spike, end);
        weights += 16U * p->sources;
        target += 16;
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
