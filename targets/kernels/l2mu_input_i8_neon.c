/* For processors with NEON, 32 and 64 bits: 32 or eight targets at a time. */
#ifndef __ARM_NEON
#error "this file is for processors with NEON; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <stdbool.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable)")
#else
#define ONE_BY_ONE
#endif

#define INLINE static inline __attribute__((always_inline))
#define EIGHT ((size_t)8)
#define MOST ((size_t)4) /* eights of targets at once */

/* The targets of one block, and what reaches them. Targets are int16, or int32 if `wide`; each has a shift
 * of its own, or all have one. */
typedef struct {
    void *v;
    const int8_t *weights; /* [column][stride] */
    const int32_t *shift;
    const int16_t *sample;
    size_t columns;
    size_t stride;
    bool wide;
    bool own;
} block_t;

/* A sample in every lane. Of one whose lanes it knows to be alike, clang wants no more than four. */
INLINE int16x8_t everywhere(int16_t sample)
{
    int16x8_t samples = vdupq_n_s16(sample);
    __asm__("" : "+w"(samples));
    return samples;
}

/* Add products with the upper four of eight weights. */
INLINE int32x4_t with_upper(int32x4_t sums, int16x8_t weights, int16x8_t sample)
{
#ifdef __aarch64__
    return vmlal_high_s16(sums, weights, sample);
#else
    return vmlal_s16(sums, vget_high_s16(weights), vget_high_s16(sample));
#endif
}

/* Right shifts that round half up. */
INLINE int32x4_t shifted(int32x4_t sum, const int32_t *shift, bool own)
{
    const int32x4_t right = own ? vld1q_s32(shift) : vdupq_n_s32(*shift);
    return vrshlq_s32(sum, vnegq_s32(right));
}

/* Add sums, shifted, to the eight targets from number `row` on. */
INLINE void add_sums(const block_t *block, size_t row, int32x4_t low, int32x4_t high)
{
    const bool own = block->own;
    const int32_t *const shift = own ? &block->shift[row] : block->shift;
    const int32x4_t low_currents = shifted(low, shift, own);
    const int32x4_t high_currents = shifted(high, own ? &shift[4] : shift, own);
    if (block->wide) {
        int32_t *const v = (int32_t *)block->v + row;
        vst1q_s32(v, vaddq_s32(vld1q_s32(v), low_currents));
        vst1q_s32(&v[4], vaddq_s32(vld1q_s32(&v[4]), high_currents));
    } else {
        int16_t *const v = (int16_t *)block->v + row;
        const int16x8_t currents = vcombine_s16(vmovn_s32(low_currents), vmovn_s32(high_currents));
        vst1q_s16(v, vaddq_s16(vld1q_s16(v), currents));
    }
}

/* So many eights of targets from number `row` on, whose weights are in column `place` and after. */
INLINE void add_eights(const block_t *block, size_t row, size_t place, size_t count)
{
    const int8_t *weights = &block->weights[place];
    const int16x4_t first = vdup_n_s16(*block->sample);
    int32x4_t low[MOST];
    int32x4_t high[MOST];
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        const int16x8_t wide = vmovl_s8(vld1_s8(&weights[i * EIGHT]));
        low[i] = vmull_s16(vget_low_s16(wide), first);
        high[i] = vmull_s16(vget_high_s16(wide), first);
    }
    ONE_BY_ONE
    for (size_t column = 1; column < block->columns; ++column) {
        weights += block->stride;
        const int16x8_t sample = everywhere(block->sample[column]);
#pragma GCC unroll 4
        for (size_t i = 0; i < count; ++i) {
            const int16x8_t wide = vmovl_s8(vld1_s8(&weights[i * EIGHT]));
            low[i] = vmlal_s16(low[i], vget_low_s16(wide), vget_low_s16(sample));
            high[i] = with_upper(high[i], wide, sample);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        add_sums(block, row + (i * EIGHT), low[i], high[i]);
    }
}

INLINE void add_one(const block_t *block, size_t row)
{
    const uint32_t shift = (uint32_t)block->shift[block->own ? row : 0U];
    int32_t total = l2mu_half(shift);
    ONE_BY_ONE
    for (size_t column = 0; column < block->columns; ++column) {
        total += block->weights[(column * block->stride) + row] * block->sample[column];
    }
    if (block->wide) {
        ((int32_t *)block->v)[row] += l2mu_floor_shift(total, shift);
    } else {
        int16_t *const v = (int16_t *)block->v + row;
        *v = (int16_t)(*v + l2mu_floor_shift(total, shift));
    }
}

/* Eights of targets; the last eight end with the last target, and begin with weights of zero where they
 * overlap others. Fewer than eight go one by one. */
INLINE void add_block(const block_t *block, size_t rows)
{
    size_t row = 0;
    if (rows >= EIGHT) {
        ONE_BY_ONE
        for (; (row + (MOST * EIGHT)) < rows; row += MOST * EIGHT) {
            add_eights(block, row, row, MOST);
        }
        ONE_BY_ONE
        for (; (row + EIGHT) < rows; row += EIGHT) {
            add_eights(block, row, row, 1);
        }
        add_eights(block, rows - EIGHT, row, 1);
    } else {
        ONE_BY_ONE
        for (; row < rows; ++row) {
            add_one(block, row);
        }
    }
}

INLINE void add_input(const l2mu_input_i8_t *p, void *v, const int16_t *sample, bool wide, bool own)
{
    const size_t rows = p->rows;
    const size_t stride = (rows < EIGHT) ? rows : ((rows + EIGHT - 1U) / EIGHT * EIGHT);
    block_t block = {v, p->weights, p->shift, sample, p->columns, stride, wide, own};
    ONE_BY_ONE
    for (size_t i = 0; i < p->blocks; ++i) {
        add_block(&block, rows);
        block.v = (char *)block.v + (rows * (wide ? sizeof(int32_t) : sizeof(int16_t)));
        block.weights += p->block_step;
        block.shift += own ? rows : 0U;
        block.sample += p->columns;
    }
}

void l2mu_input_i8_i16_neon(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    if (p->shift_step != 0U) {
        add_input(p, v, sample, false, true);
    } else {
        add_input(p, v, sample, false, false);
    }
}

void l2mu_input_i8_i32_neon(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    if (p->shift_step != 0U) {
        add_input(p, v, sample, true, true);
    } else {
        add_input(p, v, sample, true, false);
    }
}
