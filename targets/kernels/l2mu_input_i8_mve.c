/* For processors with Helium (Armv8.1-M, integer MVE): samples of eight channels in a vector, or of one
 * channel four targets. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>
#include <stdbool.h>

#include "l2mu_kernels.h"

#define TARGETS 4U /* int32 sums in a vector */

/* The targets of one block, and what reaches them. Targets are int16, or int32 if `wide`; each has a shift
 * of its own, or all have one. */
typedef struct {
    void *v;
    const int8_t *weights; /* [row][column] */
    const int32_t *shift;
    const int16_t *sample;
    size_t rows;
    size_t columns;
    bool wide;
    bool own;
} block_t;

/* Add sums, shifted, to the four targets from number `row` on. */
static inline void add_sums(const block_t *block, size_t row, int32x4_t sums)
{
    int32x4_t currents;
    if (block->own) {
        currents = vrshlq_s32(sums, vnegq_s32(vldrwq_s32(&block->shift[row])));
    } else {
        currents = vrshlq_n_s32(sums, -*block->shift);
    }
    if (block->wide) {
        int32_t *const v = (int32_t *)block->v + row;
        vstrwq_s32(v, vaddq_s32(vldrwq_s32(v), currents));
    } else {
        int16_t *const v = (int16_t *)block->v + row;
        vstrhq_s32(v, vaddq_s32(vldrhq_s32(v), currents));
    }
}

/* The same where only some are `left`. */
static inline void add_last_sums(const block_t *block, size_t row, int32x4_t sums, mve_pred16_t left)
{
    int32x4_t currents;
    if (block->own) {
        currents = vrshlq_s32(sums, vnegq_s32(vldrwq_z_s32(&block->shift[row], left)));
    } else {
        currents = vrshlq_n_s32(sums, -*block->shift);
    }
    if (block->wide) {
        int32_t *const v = (int32_t *)block->v + row;
        vstrwq_p_s32(v, vaddq_s32(vldrwq_z_s32(v, left), currents), left);
    } else {
        int16_t *const v = (int16_t *)block->v + row;
        vstrhq_p_s32(v, vaddq_s32(vldrhq_z_s32(v, left), currents), left);
    }
}

/* Of one channel. */
static inline void add_products(const block_t *block)
{
    const int32_t sample = *block->sample;
    for (size_t row = 0; row < block->rows; row += TARGETS) {
        const mve_pred16_t left = vctp32q((uint32_t)(block->rows - row));
        add_last_sums(block, row, vmulq_n_s32(vldrbq_z_s32(&block->weights[row], left), sample), left);
    }
}

/* The sums of the four rows that begin with these weights; the last one that is left stands in for those
 * that are not there. */
static inline int32x4_t sums_of(const block_t *block, const int8_t *weights, size_t left)
{
    const size_t columns = block->columns;
    const int16_t *const samples = block->sample;
    const int8_t *const second = (left > 1U) ? &weights[columns] : weights;
    const int8_t *const third = (left > 2U) ? &second[columns] : second;
    const int8_t *const fourth = (left > 3U) ? &third[columns] : third;
    register int32_t sum0 __asm__("r0") = 0;
    register int32_t sum1 __asm__("r2") = 0;
    register int32_t sum2 __asm__("r8") = 0;
    register int32_t sum3 __asm__("r10") = 0;
    register const int8_t *row0 __asm__("r1") = weights;
    register const int8_t *row1 __asm__("r3") = second;
    register const int8_t *row2 __asm__("r4") = third;
    register const int8_t *row3 __asm__("r5") = fourth;
    register const int16_t *sample __asm__("r9") = samples;
    __asm__ volatile("    dlstp.16 lr, %[columns]\n"
                     "1:  vldrh.u16 q0, [%[sample]], #16\n"
                     "    vldrb.s16 q1, [%[row0]], #8\n"
                     "    vmlava.s16 %[sum0], q0, q1\n"
                     "    vldrb.s16 q1, [%[row1]], #8\n"
                     "    vmlava.s16 %[sum1], q0, q1\n"
                     "    vldrb.s16 q1, [%[row2]], #8\n"
                     "    vmlava.s16 %[sum2], q0, q1\n"
                     "    vldrb.s16 q1, [%[row3]], #8\n"
                     "    vmlava.s16 %[sum3], q0, q1\n"
                     "    letp   lr, 1b\n"
                     : [sum0] "+r"(sum0), [sum1] "+r"(sum1), [sum2] "+r"(sum2), [sum3] "+r"(sum3),
                       [row0] "+r"(row0), [row1] "+r"(row1), [row2] "+r"(row2), [row3] "+r"(row3),
                       [sample] "+r"(sample)
                     : [columns] "r"(columns)
                     : "q0", "q1", "lr", "cc", "memory");
    int32x4_t sums = vdupq_n_s32(sum0);
    sums = vsetq_lane_s32(sum1, sums, 1);
    sums = vsetq_lane_s32(sum2, sums, 2);
    return vsetq_lane_s32(sum3, sums, 3);
}

/* Four rows at a time. */
static inline void add_rows(const block_t *block)
{
    const int8_t *weights = block->weights;
    size_t row = 0;
    for (; (row + TARGETS) <= block->rows; row += TARGETS) {
        add_sums(block, row, sums_of(block, weights, TARGETS));
        weights += TARGETS * block->columns;
    }
    if (row != block->rows) {
        const size_t left = block->rows - row;
        add_last_sums(block, row, sums_of(block, weights, left), vctp32q((uint32_t)left));
    }
}

static inline void add_block(const block_t *block)
{
    if (block->columns == 1U) {
        add_products(block);
    } else {
        add_rows(block);
    }
}

static inline void add_input(const l2mu_input_i8_t *p, void *v, const int16_t *sample, bool wide, bool own)
{
    block_t block = {v, p->weights, p->shift, sample, p->rows, p->columns, wide, own};
    const size_t bytes = p->rows * (wide ? sizeof(int32_t) : sizeof(int16_t));
    for (size_t i = 0; i < p->blocks; ++i) {
        add_block(&block);
        block.v = (char *)block.v + bytes;
        block.weights += p->block_step;
        block.shift += own ? p->rows : 0U;
        block.sample += p->columns;
    }
}

void l2mu_input_i8_i16_mve(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    if (p->shift_step != 0U) {
        add_input(p, v, sample, false, true);
    } else {
        add_input(p, v, sample, false, false);
    }
}

void l2mu_input_i8_i32_mve(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    if (p->shift_step != 0U) {
        add_input(p, v, sample, true, true);
    } else {
        add_input(p, v, sample, true, false);
    }
}
