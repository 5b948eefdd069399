/* For x86-64 processors with AVX-512: 32 int16 sums in a register. */
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

#define LANES ((size_t)32)
#define MOST ((size_t)8) /* registers of sums */

static inline __m512i weights_of(const int8_t *weights)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)weights));
}

/* The sums of `count` registers, the last with so many lanes, stay there while all rows pass by. */
static inline __attribute__((always_inline)) void
add_tile(int16_t *v, const int8_t *weights, size_t stride, const uint16_t *spikes, size_t count,
         __mmask32 last)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const size_t whole = count - 1U;
    __m512i sums[MOST];
#pragma GCC unroll 8
    for (size_t i = 0; i < whole; ++i) {
        sums[i] = _mm512_loadu_si512(&v[i * LANES]);
    }
    sums[whole] = _mm512_maskz_loadu_epi16(last, &v[whole * LANES]);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const int8_t *const row = &weights[*spike * stride];
#pragma GCC unroll 8
        for (size_t i = 0; i < whole; ++i) {
            sums[i] = _mm512_add_epi16(sums[i], weights_of(&row[i * LANES]));
        }
        sums[whole] = _mm512_add_epi16(sums[whole], weights_of(&row[whole * LANES]));
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < whole; ++i) {
        _mm512_storeu_si512(&v[i * LANES], sums[i]);
    }
    _mm512_mask_storeu_epi16(&v[whole * LANES], last, sums[whole]);
}

#define TILE(count)                                                     \
    case count:                                                         \
        add_tile(&v[j], &p->weights[j], stride, spikes, count, last); \
        break;

void l2mu_accumulate_dense_i8_i16_avx512(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const size_t targets = p->targets;
    const size_t stride = (targets + LANES - 1U) & ~(size_t)(LANES - 1U);
    if (spikes[0] == 0U) {
        return;
    }
    for (size_t j = 0; j < targets; j += MOST * LANES) {
        const size_t left = ((targets - j) < (MOST * LANES)) ? (targets - j) : (MOST * LANES);
        const size_t count = (left + LANES - 1U) / LANES;
        const __mmask32 last = ~(__mmask32)0 >> ((count * LANES) - left);
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

#ifdef __clang__
#pragma clang attribute pop
#endif
