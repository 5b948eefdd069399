/* For Thumb without multiplications of several numbers: eight targets at a time.
 *
 * Weights are stored plus 128, as bytes without sign, which Armv6-M loads at constant offsets. What that
 * adds to a sum, 128 for each unit of a sample, is taken away beforehand. Sums are modulo 2^32, where only
 * the last must fit. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include <stdbool.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define INLINE static inline __attribute__((always_inline))
#define EIGHT 8U
#define QUAD 4U

/* What is left of a block: targets, int16 or int32 if `wide`, their shifts, and their weights, eights of rows
 * as [column][8], then [row][column]. Sums begin with `start`. */
typedef struct {
    void *v;
    const uint8_t *weights;
    const int32_t *shift;
    size_t shift_step;
    uint32_t start;
} targets_t;

/* Add a sum, shifted, to the next target. */
INLINE void add_sum(targets_t *to, uint32_t sum, bool wide)
{
    const uint32_t shift = (uint32_t)*to->shift;
    const int32_t current = l2mu_floor_shift((int32_t)(sum + (uint32_t)l2mu_half(shift)), shift);
    to->shift += to->shift_step;
    if (wide) {
        int32_t *const v = to->v;
        *v += current;
        to->v = v + 1;
    } else {
        int16_t *const v = to->v;
        *v = (int16_t)(*v + current);
        to->v = v + 1;
    }
}

/* Add products of some channels, at least one, to eight sums. */
#if __ARM_ARCH_ISA_THUMB == 1

#define ADD_LOW(sum, row)                  \
    "    ldrb   r7, [r1, #" row "]\n"      \
    "    muls   r7, r3, r7\n"              \
    "    adds   " sum ", " sum ", r7\n"
#define ADD_HIGH(sum, row)                 \
    "    ldrb   r7, [r1, #" row "]\n"      \
    "    muls   r7, r3, r7\n"              \
    "    add    " sum ", " sum ", r7\n"

/* The sums are r4 to r6 and r8 to r12, the end is lr. */
__attribute__((naked, noinline)) static void add_eight(uint32_t *sums, const uint8_t *weights,
                                                       const int16_t *sample, const int16_t *end)
{
    __asm__ volatile("    .syntax unified\n"
                     "    push   {r4, r5, r6, r7, lr}\n"
                     "    mov    r4, r8\n"
                     "    mov    r5, r9\n"
                     "    mov    r6, r10\n"
                     "    mov    r7, r11\n"
                     "    push   {r0, r4, r5, r6, r7}\n"
                     "    mov    lr, r3\n"
                     "    ldm    r0!, {r3, r4, r5, r6, r7}\n"
                     "    mov    r8, r3\n"
                     "    mov    r9, r7\n"
                     "    ldm    r0!, {r3, r7}\n"
                     "    mov    r10, r3\n"
                     "    mov    r11, r7\n"
                     "    ldr    r3, [r0]\n"
                     "    mov    r12, r3\n"
                     "    movs   r0, #0\n"
                     "1:  ldrsh  r3, [r2, r0]\n"
                     ADD_HIGH("r8", "0") ADD_LOW("r4", "1") ADD_LOW("r5", "2") ADD_LOW("r6", "3")
                     ADD_HIGH("r9", "4") ADD_HIGH("r10", "5") ADD_HIGH("r11", "6") ADD_HIGH("r12", "7")
                     "    adds   r1, r1, #8\n"
                     "    adds   r2, r2, #2\n"
                     "    cmp    r2, lr\n"
                     "    bne    1b\n"
                     "    ldr    r0, [sp]\n"
                     "    mov    r3, r8\n"
                     "    mov    r7, r9\n"
                     "    stm    r0!, {r3, r4, r5, r6, r7}\n"
                     "    mov    r3, r10\n"
                     "    mov    r4, r11\n"
                     "    mov    r5, r12\n"
                     "    stm    r0!, {r3, r4, r5}\n"
                     "    pop    {r0, r4, r5, r6, r7}\n"
                     "    mov    r8, r4\n"
                     "    mov    r9, r5\n"
                     "    mov    r10, r6\n"
                     "    mov    r11, r7\n"
                     "    pop    {r4, r5, r6, r7, pc}\n");
}

#else

INLINE void add_quad(uint32_t *sums, const uint8_t *weights, const int16_t *sample, const int16_t *end)
{
    const uint8_t *weight = weights;
    uint32_t sum0 = sums[0];
    uint32_t sum1 = sums[1];
    uint32_t sum2 = sums[2];
    uint32_t sum3 = sums[3];
    for (const int16_t *channel = sample; channel != end; ++channel) {
        const uint32_t factor = (uint32_t)*channel;
        sum0 += weight[0] * factor;
        sum1 += weight[1] * factor;
        sum2 += weight[2] * factor;
        sum3 += weight[3] * factor;
        weight += EIGHT;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

INLINE void add_eight(uint32_t *sums, const uint8_t *weights, const int16_t *sample, const int16_t *end)
{
    add_quad(sums, weights, sample, end);
    add_quad(&sums[QUAD], &weights[QUAD], sample, end);
}

#endif

INLINE void add_row(targets_t *to, const int16_t *sample, const int16_t *end, bool wide)
{
    uint32_t sum = to->start;
    for (const int16_t *channel = sample; channel != end; ++channel) {
        sum += *to->weights * (uint32_t)*channel;
        ++to->weights;
    }
    add_sum(to, sum, wide);
}

INLINE void add_rows(targets_t *to, size_t rows, const int16_t *sample, const int16_t *end, bool wide)
{
    size_t left = rows;
    for (; left >= EIGHT; left -= EIGHT) {
        uint32_t sums[EIGHT];
        for (size_t i = 0; i < EIGHT; ++i) {
            sums[i] = to->start;
        }
        add_eight(sums, to->weights, sample, end);
        to->weights += EIGHT * (size_t)(end - sample);
        for (size_t i = 0; i < EIGHT; ++i) {
            add_sum(to, sums[i], wide);
        }
    }
    for (; left > 0U; --left) {
        add_row(to, sample, end, wide);
    }
}

/* Of one channel: the targets that are left then. */
INLINE targets_t products_added(targets_t targets, size_t rows, int32_t sample, bool wide)
{
    targets_t to = targets;
    for (size_t left = rows; left > 0U; --left) {
        add_sum(&to, (uint32_t)((*to.weights - 128) * sample), wide);
        ++to.weights;
    }
    return to;
}

INLINE uint32_t start_of(const int16_t *sample, const int16_t *end)
{
    uint32_t sum = 0;
    for (const int16_t *channel = sample; channel != end; ++channel) {
        sum += (uint32_t)*channel;
    }
    return 0U - (sum << 7U);
}

INLINE void add_input(const l2mu_input_i8_t *p, void *v, const int16_t *sample, bool wide)
{
    targets_t to = {v, NULL, p->shift, p->shift_step, 0};
    const int8_t *weights = p->weights;
    const int16_t *channels = sample;
    for (size_t block = 0; block < p->blocks; ++block) {
        const int16_t *const end = &channels[p->columns];
        to.weights = (const uint8_t *)weights;
        if (p->columns == 1U) {
            to = products_added(to, p->rows, *channels, wide);
        } else {
            to.start = start_of(channels, end);
            add_rows(&to, p->rows, channels, end, wide);
        }
        weights += p->block_step;
        channels = end;
    }
}

void l2mu_input_i8_i16_m0(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    add_input(p, v, sample, false);
}

void l2mu_input_i8_i32_m0(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    add_input(p, v, sample, true);
}
