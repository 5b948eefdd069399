/* Sums of int32 of neurons in blocks: which block a spike belongs to, without an instruction for division
 * where there is none. */
#ifndef L2MU_BLOCKS_H
#define L2MU_BLOCKS_H

#include <stdbool.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#if defined(__ARM_FEATURE_IDIV) || defined(__aarch64__)
#define L2MU_DIVIDES
#endif

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define L2MU_ONE_BY_ONE _Pragma("clang loop unroll(disable) vectorize(disable)")
#else
#define L2MU_ONE_BY_ONE
#endif

/* How often a divisor goes into numbers of 16 bits. Armv6-M multiplies 32 bits, so its reciprocal is of
 * 16 and may make a quotient one too small; others' is greater by less than one 2^32nd for each of the
 * divisor, and so exact. */
typedef struct {
    uint32_t divisor;
#if defined(__thumb__) && !defined(__thumb2__)
    uint32_t reciprocal;
#elif !defined(L2MU_DIVIDES)
    uint64_t reciprocal;
#endif
} l2mu_division_t;

L2MU_INLINE l2mu_division_t l2mu_division_by(uint16_t divisor)
{
    l2mu_division_t by;
    by.divisor = divisor;
#if defined(__thumb__) && !defined(__thumb2__)
    by.reciprocal = (divisor == 1U) ? 0x10000U : (0x10000U / divisor);
#elif !defined(L2MU_DIVIDES)
    by.reciprocal = (uint64_t)1U + (UINT32_MAX / divisor);
#endif
    return by;
}

L2MU_INLINE uint32_t l2mu_quotient(uint32_t number, l2mu_division_t by)
{
#if defined(__thumb__) && !defined(__thumb2__)
    const uint32_t low = (number * by.reciprocal) >> 16U;
    return ((number - (low * by.divisor)) < by.divisor) ? low : (low + 1U);
#elif !defined(L2MU_DIVIDES)
    return (uint32_t)((number * by.reciprocal) >> 32U);
#else
    return number / by.divisor;
#endif
}

/* v += weights, of so many neighbours. */
typedef void l2mu_add_row_t(int32_t *v, const int8_t *weights, size_t rows);

L2MU_INLINE void l2mu_add_rows(int32_t *v, size_t rows, uint16_t columns, const int8_t *weights,
                               const uint16_t *spikes, bool shared, l2mu_add_row_t *add_row)
{
    const l2mu_division_t by = l2mu_division_by(columns);
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = l2mu_quotient(*spike, by);
        const uint32_t row = shared ? (*spike - (block * columns)) : *spike;
        add_row(&v[block * rows], &weights[row * rows], rows);
    }
}

/* As `l2mu_accumulate_shared_i8_i32`, or `l2mu_accumulate_distinct_i8_i32`. */
L2MU_INLINE void l2mu_add_blocks(int32_t *v, size_t rows, uint16_t columns, const int8_t *weights,
                                 const uint16_t *spikes, bool shared, l2mu_add_row_t *add_row)
{
    if (spikes[0] == 0U) {
        return;
    }
    if (rows == 4U) {
        l2mu_add_rows(v, 4U, columns, weights, spikes, shared, add_row);
    } else {
        l2mu_add_rows(v, rows, columns, weights, spikes, shared, add_row);
    }
}

#endif
