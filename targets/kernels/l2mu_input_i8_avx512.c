/* For x86-64 processors with AVX-512: 16 int32 sums in a register, samples of two channels at a time. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512bw,avx512vl")
#endif
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl"))), apply_to = function)
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES ((size_t)16)
#define MOST ((size_t)4) /* registers of sums */

/* The targets of one block, and what reaches them. Targets are int16, or int32 if `wide`; each has a shift
 * of its own, or all have one. Of every two columns the weights of a row are neighbours. */
typedef struct {
    void *v;
    const int8_t *weights;
    const int32_t *shift;
    const int16_t *sample;
    size_t rows;
    size_t columns;
    bool wide;
    bool own;
} block_t;

/* Sixteen products of one channel's sample. */
INLINE __m512i products(const int8_t *weights, __mmask16 lanes, int16_t sample)
{
    const __m512i wide = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, weights));
    return _mm512_madd_epi16(wide, _mm512_set1_epi32((uint16_t)sample));
}

/* Sixteen sums of two channels' products. */
INLINE __m512i pair_products(const int8_t *weights, __mmask32 lanes, __m512i samples)
{
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(lanes, weights));
    return _mm512_madd_epi16(wide, samples);
}

/* Right shifts that round half up. */
INLINE __m512i shifted(__m512i sums, __m512i shift)
{
    const __m512i half = _mm512_srli_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), shift), 1);
    return _mm512_srav_epi32(_mm512_add_epi32(sums, half), shift);
}

/* Add sums, shifted, to the targets from number `row` on that have lanes. */
INLINE void add_sums(const block_t *block, size_t row, __mmask16 lanes, __m512i sums)
{
    const __m512i shift = block->own ? _mm512_maskz_loadu_epi32(lanes, &block->shift[row])
                                     : _mm512_set1_epi32(*block->shift);
    const __m512i currents = shifted(sums, shift);
    if (block->wide) {
        int32_t *const v = (int32_t *)block->v + row;
        _mm512_mask_storeu_epi32(v, lanes, _mm512_add_epi32(_mm512_maskz_loadu_epi32(lanes, v), currents));
    } else {
        int16_t *const v = (int16_t *)block->v + row;
        const __m256i before = _mm256_maskz_loadu_epi16(lanes, v);
        _mm256_mask_storeu_epi16(v, lanes, _mm256_add_epi16(before, _mm512_cvtepi32_epi16(currents)));
    }
}

/* The targets of `count` registers from number `row` on, the last with so many lanes. */
INLINE void add_tile(const block_t *block, size_t row, size_t count, size_t lanes_of_last)
{
    const __mmask16 last = (__mmask16)(0xFFFFU >> (LANES - lanes_of_last));
    const __mmask32 last_pairs = ~(__mmask32)0 >> (2U * (LANES - lanes_of_last));
    const size_t paired = block->columns & ~(size_t)1U;
    __m512i sums[MOST];
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        sums[i] = _mm512_setzero_si512();
    }
    for (size_t column = 0; column < paired; column += 2U) {
        const int8_t *const weights = &block->weights[(column * block->rows) + (2U * row)];
        int32_t pair;
        (void)memcpy(&pair, &block->sample[column], sizeof pair);
        const __m512i samples = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (size_t i = 0; i < count; ++i) {
            const __mmask32 lanes = ((i + 1U) == count) ? last_pairs : ~(__mmask32)0;
            sums[i] = _mm512_add_epi32(sums[i], pair_products(&weights[2U * i * LANES], lanes, samples));
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        const __mmask16 lanes = ((i + 1U) == count) ? last : (__mmask16)0xFFFFU;
        const size_t first = row + (i * LANES);
        if (paired != block->columns) {
            const int8_t *const weights = &block->weights[(paired * block->rows) + first];
            sums[i] = _mm512_add_epi32(sums[i], products(weights, lanes, block->sample[paired]));
        }
        add_sums(block, first, lanes, sums[i]);
    }
}

INLINE void add_block(const block_t *block)
{
    for (size_t row = 0; row < block->rows; row += MOST * LANES) {
        const size_t rest = block->rows - row;
        const size_t left = (rest < (MOST * LANES)) ? rest : (MOST * LANES);
        const size_t count = (left + LANES - 1U) / LANES;
        const size_t last = left - ((count - 1U) * LANES);
        switch (count) {
        case 1:
            add_tile(block, row, 1, last);
            break;
        case 2:
            add_tile(block, row, 2, last);
            break;
        case 3:
            add_tile(block, row, 3, last);
            break;
        default:
            add_tile(block, row, MOST, last);
            break;
        }
    }
}

INLINE void add_input(const l2mu_input_i8_t *p, void *v, const int16_t *sample, bool wide)
{
    const bool own = p->shift_step != 0U;
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

void l2mu_input_i8_i16_avx512(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    add_input(p, v, sample, false);
}

void l2mu_input_i8_i32_avx512(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    add_input(p, v, sample, true);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
