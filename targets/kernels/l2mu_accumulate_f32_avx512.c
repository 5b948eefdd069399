/* For x86-64 processors with AVX-512: 16 floats in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512bw")
#endif
#include <immintrin.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#endif

#define LANES ((size_t)16)
#define MOST ((size_t)16)    /* registers of sums */
#define MULTIPLE 32U /* rows are filled up to one of these */

/* The sums of `count` registers, the last with so many lanes, stay there while all rows pass by. */
static inline __attribute__((always_inline)) void
add_tile(float *v, const float *weights, size_t stride, const uint16_t *spikes, size_t count,
         __mmask16 last)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const size_t whole = count - 1U;
    __m512 sums[MOST];
#pragma GCC unroll 16
    for (size_t i = 0; i < whole; ++i) {
        sums[i] = _mm512_loadu_ps(&v[i * LANES]);
    }
    sums[whole] = _mm512_maskz_loadu_ps(last, &v[whole * LANES]);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const float *const row = &weights[*spike * stride];
#pragma GCC unroll 16
        for (size_t i = 0; i < count; ++i) {
            sums[i] = _mm512_add_ps(sums[i], _mm512_loadu_ps(&row[i * LANES]));
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < whole; ++i) {
        _mm512_storeu_ps(&v[i * LANES], sums[i]);
    }
    _mm512_mask_storeu_ps(&v[whole * LANES], last, sums[whole]);
}

#define TILE(count)                                                    \
    case count:                                                        \
        add_tile(&v[j], &p->weights[j], stride, spikes, count, last); \
        break;

void l2mu_accumulate_dense_f32_avx512(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes)
{
    const size_t targets = p->targets;
    const size_t stride = (targets + MULTIPLE - 1U) & ~(size_t)(MULTIPLE - 1U);
    if (spikes[0] == 0U) {
        return;
    }
    for (size_t j = 0; j < targets; j += MOST * LANES) {
        const size_t left = ((targets - j) < (MOST * LANES)) ? (targets - j) : (MOST * LANES);
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
