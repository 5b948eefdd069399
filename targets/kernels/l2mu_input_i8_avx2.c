/* For x86-64 processors with AVX2: 8 int32 sums in a register, samples of two channels at a time. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES ((size_t)8)
#define MOST ((size_t)4) /* registers of sums */

/* The targets of one block, and what reaches them. Targets are int16, or int32 if `wide`; each has a shift
 * of its own, or all have one. Weights are [column][stride], where of every two columns those of a row are
 * neighbours. */
typedef struct {
    void *v;
    const int8_t *weights;
    const int32_t *shift;
    const int16_t *sample;
    size_t columns;
    size_t stride;
    bool wide;
    bool own;
} block_t;

/* Eight products of one channel's sample. */
INLINE __m256i products(const int8_t *weights, int16_t sample)
{
    const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)weights));
    return _mm256_madd_epi16(wide, _mm256_set1_epi32((uint16_t)sample));
}

/* Eight sums of two channels' products. */
INLINE __m256i pair_products(const int8_t *weights, __m256i samples)
{
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)weights));
    return _mm256_madd_epi16(wide, samples);
}

/* Right shifts that round half up. */
INLINE __m256i shifted(__m256i sums, __m256i shift)
{
    const __m256i half = _mm256_srli_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(1), shift), 1);
    return _mm256_srav_epi32(_mm256_add_epi32(sums, half), shift);
}

/* The lower halves of eight int32. */
INLINE __m128i narrowed(__m256i wide)
{
    const __m256i low = _mm256_and_si256(wide, _mm256_set1_epi32(0xFFFF));
    return _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
}

/* Add sums, shifted, to the eight targets from number `row` on. */
INLINE void add_sums(const block_t *block, size_t row, __m256i sums)
{
    const __m256i shift = block->own ? _mm256_loadu_si256((const __m256i *)(const void *)&block->shift[row])
                                     : _mm256_set1_epi32(*block->shift);
    const __m256i currents = shifted(sums, shift);
    if (block->wide) {
        __m256i *const v = (__m256i *)(void *)((int32_t *)block->v + row);
        _mm256_storeu_si256(v, _mm256_add_epi32(_mm256_loadu_si256(v), currents));
    } else {
        __m128i *const v = (__m128i *)(void *)((int16_t *)block->v + row);
        _mm_storeu_si128(v, _mm_add_epi16(_mm_loadu_si128(v), narrowed(currents)));
    }
}

/* The targets of `count` registers from number `row` on, whose weights are in column `place` and after. */
INLINE void add_tile(const block_t *block, size_t row, size_t place, size_t count)
{
    const size_t paired = block->columns & ~(size_t)1U;
    __m256i sums[MOST];
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        sums[i] = _mm256_setzero_si256();
    }
    for (size_t column = 0; column < paired; column += 2U) {
        const int8_t *const weights = &block->weights[(column * block->stride) + (2U * place)];
        int32_t pair;
        (void)memcpy(&pair, &block->sample[column], sizeof pair);
        const __m256i samples = _mm256_set1_epi32(pair);
#pragma GCC unroll 4
        for (size_t i = 0; i < count; ++i) {
            sums[i] = _mm256_add_epi32(sums[i], pair_products(&weights[2U * i * LANES], samples));
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        if (paired != block->columns) {
            const int8_t *const weights = &block->weights[(paired * block->stride) + place + (i * LANES)];
            sums[i] = _mm256_add_epi32(sums[i], products(weights, block->sample[paired]));
        }
        add_sums(block, row + (i * LANES), sums[i]);
    }
}

INLINE void add_one(const block_t *block, size_t row)
{
    const size_t paired = block->columns & ~(size_t)1U;
    const uint32_t shift = (uint32_t)block->shift[block->own ? row : 0U];
    int32_t total = l2mu_half(shift);
    for (size_t column = 0; column < block->columns; ++column) {
        const size_t pair = (column & ~(size_t)1U) * block->stride;
        const size_t place = (column < paired) ? ((2U * row) + (column & 1U)) : row;
        total += block->weights[pair + place] * block->sample[column];
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
    if (rows >= LANES) {
        for (; (row + (MOST * LANES)) < rows; row += MOST * LANES) {
            add_tile(block, row, row, MOST);
        }
        for (; (row + LANES) < rows; row += LANES) {
            add_tile(block, row, row, 1);
        }
        add_tile(block, rows - LANES, row, 1);
    } else {
        for (; row < rows; ++row) {
            add_one(block, row);
        }
    }
}

INLINE void add_input(const l2mu_input_i8_t *p, void *v, const int16_t *sample, bool wide)
{
    const size_t rows = p->rows;
    const size_t stride = (rows < LANES) ? rows : ((rows + LANES - 1U) & ~(LANES - 1U));
    const bool own = p->shift_step != 0U;
    block_t block = {v, p->weights, p->shift, sample, p->columns, stride, wide, own};
    for (size_t i = 0; i < p->blocks; ++i) {
        add_block(&block, rows);
        block.v = (char *)block.v + (rows * (wide ? sizeof(int32_t) : sizeof(int16_t)));
        block.weights += p->block_step;
        block.shift += own ? rows : 0U;
        block.sample += p->columns;
    }
}

void l2mu_input_i8_i16_avx2(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    add_input(p, v, sample, false);
}

void l2mu_input_i8_i32_avx2(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    add_input(p, v, sample, true);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
