/* For x86-64 processors with AVX2: eight int32 sums in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif
#include <immintrin.h>
#include <string.h>

#include "l2mu_blocks.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#endif

L2MU_INLINE void add_row(int32_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    L2MU_ONE_BY_ONE
    for (; (row + 8U) <= rows; row += 8U) {
        __m256i *const sums = (__m256i *)(void *)&v[row];
        const __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)&weights[row]);
        const __m256i wide = _mm256_cvtepi8_epi32(eight);
        _mm256_storeu_si256(sums, _mm256_add_epi32(_mm256_loadu_si256(sums), wide));
    }
    if ((row + 4U) <= rows) {
        int32_t four;
        (void)memcpy(&four, &weights[row], sizeof four);
        __m128i *const sums = (__m128i *)(void *)&v[row];
        const __m128i wide = _mm_cvtepi8_epi32(_mm_cvtsi32_si128(four));
        _mm_storeu_si128(sums, _mm_add_epi32(_mm_loadu_si128(sums), wide));
        row += 4U;
    }
    L2MU_ONE_BY_ONE
    for (; row < rows; ++row) {
        v[row] += weights[row];
    }
}

void l2mu_accumulate_shared_i8_i32_avx2(int32_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, true, add_row);
}

void l2mu_accumulate_distinct_i8_i32_avx2(int32_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, false, add_row);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
