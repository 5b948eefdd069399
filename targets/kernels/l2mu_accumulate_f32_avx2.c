/* For x86-64 processors with AVX2: 8 floats in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif
#include <immintrin.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#endif

#define LANES ((size_t)8)
#define MOST ((size_t)16) /* registers of sums */

/* The lanes that are there of the last register. */
static inline __m256i lanes_below(size_t count)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), lanes);
}

/* The sums of so many targets, in `count` registers, stay there while all rows pass by. */
static inline __attribute__((always_inline)) void
add_tile(float *v, const float *weights, size_t stride, const uint16_t *spikes, size_t count,
         size_t targets)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const size_t whole = count - 1U;
    const __m256i last = lanes_below(targets - (whole * LANES));
    __m256 sums[MOST];
#pragma GCC unroll 16
    for (size_t i = 0; i < whole; ++i) {
        sums[i] = _mm256_loadu_ps(&v[i * LANES]);
    }
    sums[whole] = _mm256_maskload_ps(&v[whole * LANES], last);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const float *const row = &weights[*spike * stride];
#pragma GCC unroll 16
        for (size_t i = 0; i < count; ++i) {
            sums[i] = _mm256_add_ps(sums[i], _mm256_loadu_ps(&row[i * LANES]));
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < whole; ++i) {
        _mm256_storeu_ps(&v[i * LANES], sums[i]);
    }
    _mm256_maskstore_ps(&v[whole * LANES], last, sums[whole]);
}

#define TILE(count)                                                   \
    case count:                                                       \
        add_tile(&v[j], &p->weights[j], stride, spikes, count, left); \
        break;

void l2mu_accumulate_dense_f32_avx2(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes)
{
    const size_t targets = p->targets;
    const size_t stride = (targets + LANES - 1U) & ~(LANES - 1U);
    if (spikes[0] == 0U) {
        return;
    }
    for (size_t j = 0; j < targets; j += MOST * LANES) {
        const size_t left = ((targets - j) < (MOST * LANES)) ? (targets - j) : (MOST * LANES);
        switch ((left + LANES - 1U) / LANES) {
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

#ifdef __clang__
#pragma clang attribute pop
#endif
