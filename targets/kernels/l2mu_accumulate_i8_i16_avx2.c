/* For x86-64 processors with AVX2: 16 int16 sums in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif
#include <immintrin.h>
#include <string.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#endif

#define LANES ((size_t)16)
#define EIGHTS 16U /* of sums, at most, in registers */

static inline __m128i eight_weights(const int8_t *weights)
{
    return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)weights));
}

static inline __m256i weights_of(const int8_t *weights)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)weights));
}

/* The sums of eight targets, so many times, stay in registers while all rows pass by. */
static inline __attribute__((always_inline)) void
add_tile(int16_t *v, const int8_t *weights, size_t stride, const uint16_t *spikes, size_t eights)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const size_t count = eights / 2U;
    const int odd = (eights % 2U) != 0U;
    __m256i *const wide = (__m256i *)(void *)v;
    __m128i *const last = (__m128i *)(void *)&v[count * LANES];
    __m256i sums[EIGHTS / 2U];
    __m128i last_sums = odd ? _mm_loadu_si128(last) : _mm_setzero_si128();
#pragma GCC unroll 8
    for (size_t i = 0; i < count; ++i) {
        sums[i] = _mm256_loadu_si256(&wide[i]);
    }
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const int8_t *const row = &weights[*spike * stride];
#pragma GCC unroll 8
        for (size_t i = 0; i < count; ++i) {
            sums[i] = _mm256_add_epi16(sums[i], weights_of(&row[i * LANES]));
        }
        if (odd) {
            last_sums = _mm_add_epi16(last_sums, eight_weights(&row[count * LANES]));
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < count; ++i) {
        _mm256_storeu_si256(&wide[i], sums[i]);
    }
    if (odd) {
        _mm_storeu_si128(last, last_sums);
    }
}

#define TILE(eights)                                              \
    case eights:                                                  \
        add_tile(&v[j], &p->weights[j], stride, spikes, eights); \
        break;

void l2mu_accumulate_dense_i8_i16_avx2(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const size_t stride = (p->targets + 7U) & ~(size_t)7U;
    if (spikes[0] == 0U) {
        return;
    }
    for (size_t j = 0; j < stride; j += (size_t)EIGHTS * 8U) {
        const size_t left = (stride - j) / 8U;
        switch ((left < EIGHTS) ? left : EIGHTS) {
            TILE(1U)
            TILE(2U)
            TILE(3U)
            TILE(4U)
            TILE(5U)
            TILE(6U)
            TILE(7U)
            TILE(8U)
            TILE(9U)
            TILE(10U)
            TILE(11U)
            TILE(12U)
            TILE(13U)
            TILE(14U)
            TILE(15U)
            TILE(16U)
        }
    }
}

/* Division of 16-bit numbers by `columns` as a product: exact, as the factor is less than one 2^32nd too
 * large for each of `columns`. */
static inline uint64_t reciprocal(uint32_t columns)
{
    return (uint64_t)1U + (UINT32_MAX / columns);
}

static inline uint32_t quotient(uint32_t number, uint64_t factor)
{
    return (uint32_t)((number * factor) >> 32U);
}

static inline void add_block_row(int16_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    for (; (row + 8U) <= rows; row += 8U) {
        __m128i *const sums = (__m128i *)(void *)&v[row];
        _mm_storeu_si128(sums, _mm_add_epi16(_mm_loadu_si128(sums), eight_weights(&weights[row])));
    }
    if ((row + 4U) <= rows) {
        int32_t four;
        (void)memcpy(&four, &weights[row], sizeof four);
        __m128i *const sums = (__m128i *)(void *)&v[row];
        const __m128i widened = _mm_cvtepi8_epi16(_mm_cvtsi32_si128(four));
        _mm_storel_epi64(sums, _mm_add_epi16(_mm_loadl_epi64(sums), widened));
        row += 4U;
    }
    for (; row < rows; ++row) {
        v[row] = (int16_t)(v[row] + weights[row]);
    }
}

void l2mu_accumulate_shared_i8_i16_avx2(int16_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes)
{
    const uint64_t factor = reciprocal(columns);
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const size_t block = quotient(*spike, factor);
        const size_t column = *spike - (block * columns);
        add_block_row(&v[block * rows], &weights[column * rows], rows);
    }
}

void l2mu_accumulate_distinct_i8_i16_avx2(int16_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes)
{
    const uint64_t factor = reciprocal(columns);
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const size_t block = quotient(*spike, factor);
        add_block_row(&v[block * rows], &weights[(size_t)*spike * rows], rows);
    }
}

#ifdef __clang__
#pragma clang attribute pop
#endif
