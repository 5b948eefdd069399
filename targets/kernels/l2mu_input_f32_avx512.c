/* For x86-64 processors with AVX-512: 16 floats in a register; to each, channels are added in their
 * order. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512bw,avx512vl")
#endif
#include <immintrin.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl"))), apply_to = function)
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES ((size_t)16)
#define MOST ((size_t)8) /* registers of sums */

/* The weights of some targets: one column's are `stride` from the next one's. */
typedef struct {
    const float *weights;
    size_t stride;
    size_t columns;
} rows_t;

/* The sums of `count` registers, the last with so many lanes, stay there while all channels pass by. */
INLINE void add_tile(float *v, rows_t rows, const float *sample, size_t count, __mmask16 last)
{
    const size_t whole = count - 1U;
    const float *weights = rows.weights;
    __m512 sums[MOST];
#pragma GCC unroll 8
    for (size_t i = 0; i < whole; ++i) {
        sums[i] = _mm512_loadu_ps(&v[i * LANES]);
    }
    sums[whole] = _mm512_maskz_loadu_ps(last, &v[whole * LANES]);
    for (size_t column = 0; column < rows.columns; ++column) {
        const __m512 channel = _mm512_set1_ps(sample[column]);
#pragma GCC unroll 8
        for (size_t i = 0; i < whole; ++i) {
            const __m512 currents = _mm512_mul_ps(_mm512_loadu_ps(&weights[i * LANES]), channel);
            sums[i] = _mm512_add_ps(sums[i], currents);
        }
        const __m512 currents = _mm512_mul_ps(_mm512_maskz_loadu_ps(last, &weights[whole * LANES]), channel);
        sums[whole] = _mm512_add_ps(sums[whole], currents);
        weights += rows.stride;
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < whole; ++i) {
        _mm512_storeu_ps(&v[i * LANES], sums[i]);
    }
    _mm512_mask_storeu_ps(&v[whole * LANES], last, sums[whole]);
}

#define TILE(count)                              \
    case count:                                  \
        add_tile(&v[row], rows, sample, count, last); \
        break;

INLINE void add_block(float *v, const float *weights, const float *sample, size_t stride, size_t columns)
{
    for (size_t row = 0; row < stride; row += MOST * LANES) {
        const rows_t rows = {&weights[row], stride, columns};
        const size_t left = ((stride - row) < (MOST * LANES)) ? (stride - row) : (MOST * LANES);
        const size_t count = (left + LANES - 1U) / LANES;
        const __mmask16 last = (__mmask16)(0xFFFFU >> ((count * LANES) - left));
        switch (count) {
            TILE(1U)
            TILE(2U)
            TILE(3U)
            TILE(4U)
            TILE(5U)
            TILE(6U)
            TILE(7U)
            TILE(8U)
        }
    }
}

void l2mu_input_f32_avx512(const l2mu_input_f32_t *p, float *v, const float *sample)
{
    for (size_t block = 0; block < p->blocks; ++block) {
        const float *const weights = &p->weights[block * p->block_step];
        add_block(&v[block * p->rows], weights, &sample[block * p->columns], p->rows, p->columns);
    }
}

#ifdef __clang__
#pragma clang attribute pop
#endif
