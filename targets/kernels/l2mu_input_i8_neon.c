/* For processors with NEON, 32 and 64 bits: eight targets at a time. */
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

/* The targets of one block, and what reaches them. */
typedef struct {
    int16_t *v;
    const int8_t *weights; /* [column][stride] */
    const int32_t *shift;
    const int16_t *sample;
    size_t columns;
    size_t stride;
} block_t;

/* Right shifts that round half up. */
static inline int32x4_t shifted(int32x4_t sum, const int32_t *shift, bool own)
{
    const int32x4_t right = own ? vld1q_s32(shift) : vdupq_n_s32(*shift);
    return vrshlq_s32(sum, vnegq_s32(right));
}

/* Eight targets from number `row` on, whose weights are in column `place` and after. */
static inline void add_eight(block_t block, size_t row, size_t place, bool own)
{
    const int8_t *weights = &block.weights[place];
    const int32_t *const shift = own ? &block.shift[row] : block.shift;
    int16_t *const v = &block.v[row];
    int32x4_t low = vdupq_n_s32(0);
    int32x4_t high = vdupq_n_s32(0);
    ONE_BY_ONE
    for (size_t column = 0; column < block.columns; ++column) {
        const int16x8_t wide = vmovl_s8(vld1_s8(weights));
        const int16x4_t sample = vdup_n_s16(block.sample[column]);
        low = vmlal_s16(low, vget_low_s16(wide), sample);
        high = vmlal_s16(high, vget_high_s16(wide), sample);
        weights += block.stride;
    }
    low = shifted(low, shift, own);
    high = shifted(high, own ? &shift[4] : shift, own);
    vst1q_s16(v, vaddq_s16(vld1q_s16(v), vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
}

static inline void add_one(block_t block, size_t row, uint32_t shift)
{
    int32_t total = l2mu_half(shift);
    ONE_BY_ONE
    for (size_t column = 0; column < block.columns; ++column) {
        total += block.weights[(column * block.stride) + row] * block.sample[column];
    }
    int16_t *const v = &block.v[row];
    *v = (int16_t)(*v + l2mu_floor_shift(total, shift));
}

/* Eights of targets; the last eight end with the last target, and begin with weights of zero where they
 * overlap others. Fewer than eight go one by one. */
static inline void add_block(block_t block, size_t rows, bool own)
{
    if (rows >= 8U) {
        ONE_BY_ONE
        for (size_t row = 0; (row + 8U) < rows; row += 8U) {
            add_eight(block, row, row, own);
        }
        add_eight(block, rows - 8U, (rows - 1U) / 8U * 8U, own);
    } else {
        ONE_BY_ONE
        for (size_t row = 0; row < rows; ++row) {
            add_one(block, row, (uint32_t)block.shift[own ? row : 0U]);
        }
    }
}

static inline void add_input(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample, bool own)
{
    const size_t rows = p->rows;
    int16_t *const targets = v;
    block_t block = {targets, p->weights, p->shift, sample, p->columns, rows};
    if (rows >= 8U) {
        block.stride = (rows + 7U) / 8U * 8U;
    }
    ONE_BY_ONE
    for (size_t i = 0; i < p->blocks; ++i) {
        add_block(block, rows, own);
        block.v += rows;
        block.weights += p->block_step;
        block.shift += own ? rows : 0U;
        block.sample += p->columns;
    }
}

void l2mu_input_i8_i16_neon(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    if (p->shift_step != 0U) {
        add_input(p, v, sample, true);
    } else {
        add_input(p, v, sample, false);
    }
}
