/* For processors with Helium (Armv8.1-M, integer MVE): four targets in a vector where channels are few, else
 * samples of eight channels. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>
#include <stdbool.h>

#include "l2mu_kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define TARGETS 4U /* int32 sums in a vector */
#define MOST 4U    /* vectors of sums at once */
#define MANY 16U   /* channels */

/* The targets that are next, int16 or int32, and their shifts: one each, or all the same, four times over. */
typedef struct {
    char *v;
    size_t bytes;
    const int32_t *shift;
    size_t shift_step;
} targets_t;

/* One block: its weights are [column][row], of many channels [row][column]. */
typedef struct {
    const int8_t *weights;
    const int16_t *sample;
    size_t rows;
    size_t columns;
} block_t;

INLINE void step_over(targets_t *to, size_t targets)
{
    to->v += targets * to->bytes;
    to->shift += targets * to->shift_step;
}

INLINE bool are_wide(const targets_t *to)
{
    return to->bytes == sizeof(int32_t);
}

/* Add sums, shifted, to the next four targets. */
INLINE void add_sums(targets_t *to, int32x4_t sums)
{
    const int32x4_t currents = vrshlq_s32(sums, vnegq_s32(vldrwq_s32(to->shift)));
    if (are_wide(to)) {
        int32_t *const v = (int32_t *)(void *)to->v;
        vstrwq_s32(v, vaddq_s32(vldrwq_s32(v), currents));
    } else {
        int16_t *const v = (int16_t *)(void *)to->v;
        vstrhq_s32(v, vaddq_s32(vldrhq_s32(v), currents));
    }
    step_over(to, TARGETS);
}

/* Add sums, shifted, to those of the next four targets that are `left`. */
INLINE void add_last_sums(const targets_t *to, int32x4_t sums, mve_pred16_t left)
{
    const int32x4_t currents = vrshlq_s32(sums, vnegq_s32(vldrwq_z_s32(to->shift, left)));
    if (are_wide(to)) {
        int32_t *const v = (int32_t *)(void *)to->v;
        vstrwq_p_s32(v, vaddq_s32(vldrwq_z_s32(v, left), currents), left);
    } else {
        int16_t *const v = (int16_t *)(void *)to->v;
        vstrhq_p_s32(v, vaddq_s32(vldrhq_z_s32(v, left), currents), left);
    }
}

/* Of one channel. */
INLINE void add_products(targets_t *to, const block_t *block)
{
    const int32_t sample = *block->sample;
    targets_t next = *to;
    for (size_t row = 0; row < block->rows; row += TARGETS) {
        const mve_pred16_t left = vctp32q((uint32_t)(block->rows - row));
        add_last_sums(&next, vmulq_n_s32(vldrbq_z_s32(&block->weights[row], left), sample), left);
        step_over(&next, TARGETS);
    }
    step_over(to, block->rows);
}

/* So many vectors of targets from number `row` on, column after column. */
INLINE void add_vectors(targets_t *to, const block_t *block, size_t row, size_t count)
{
    const int8_t *weights = &block->weights[row];
    int32x4_t sums[MOST];
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        sums[i] = vdupq_n_s32(0);
    }
    for (size_t column = 0; column < block->columns; ++column) {
        const int32_t sample = block->sample[column];
#pragma GCC unroll 4
        for (size_t i = 0; i < count; ++i) {
            sums[i] = vmlaq_n_s32(sums[i], vldrbq_s32(&weights[i * TARGETS]), sample);
        }
        weights += block->rows;
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        add_sums(to, sums[i]);
    }
}

INLINE void add_last_targets(targets_t *to, const block_t *block, size_t row)
{
    const mve_pred16_t left = vctp32q((uint32_t)(block->rows - row));
    const int8_t *weights = &block->weights[row];
    int32x4_t sums = vdupq_n_s32(0);
    for (size_t column = 0; column < block->columns; ++column) {
        sums = vmlaq_n_s32(sums, vldrbq_z_s32(weights, left), block->sample[column]);
        weights += block->rows;
    }
    add_last_sums(to, sums, left);
    step_over(to, block->rows - row);
}

/* Of few channels. */
INLINE void add_columns(targets_t *to, const block_t *block)
{
    size_t row = 0;
    for (; (row + (MOST * TARGETS)) <= block->rows; row += MOST * TARGETS) {
        add_vectors(to, block, row, MOST);
    }
    for (; (row + TARGETS) <= block->rows; row += TARGETS) {
        add_vectors(to, block, row, 1U);
    }
    if (row != block->rows) {
        add_last_targets(to, block, row);
    }
}

/* The sums of the four rows that begin with these weights; the last one that is left stands in for those
 * that are not there. */
INLINE int32x4_t sums_of(const block_t *block, const int8_t *weights, size_t left)
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

/* Of many channels. */
INLINE void add_rows(targets_t *to, const block_t *block)
{
    const int8_t *weights = block->weights;
    size_t left = block->rows;
    for (; left >= TARGETS; left -= TARGETS) {
        add_sums(to, sums_of(block, weights, TARGETS));
        weights += TARGETS * block->columns;
    }
    if (left != 0U) {
        add_last_sums(to, sums_of(block, weights, left), vctp32q((uint32_t)left));
        step_over(to, left);
    }
}

/* Do so for every block. */
#define FOR_BLOCKS(add)                                                          \
    for (size_t i = 0; i < p->blocks; ++i) {                                     \
        const block_t block = {weights, channels, p->rows, p->columns};          \
        add(&to, &block);                                                        \
        weights += p->block_step;                                                \
        channels += p->columns;                                                  \
    }

INLINE void add_input(const l2mu_input_i8_t *p, void *v, size_t bytes, const int16_t *sample)
{
    const int32_t same[TARGETS] = {*p->shift, *p->shift, *p->shift, *p->shift};
    targets_t to = {v, bytes, (p->shift_step != 0U) ? p->shift : same, p->shift_step};
    const int8_t *weights = p->weights;
    const int16_t *channels = sample;
    if (p->columns == 1U) {
        FOR_BLOCKS(add_products)
    } else if (p->columns < MANY) {
        FOR_BLOCKS(add_columns)
    } else {
        FOR_BLOCKS(add_rows)
    }
}

void l2mu_input_i8_i16_mve(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    add_input(p, v, sizeof *v, sample);
}

void l2mu_input_i8_i32_mve(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    add_input(p, v, sizeof *v, sample);
}
