/* For x86-64 processors with AVX-512 VNNI: sums of four sources' weights times flags, 16 targets at once. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif
#include <immintrin.h>
#include <string.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))), \
                             apply_to = function)
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES ((size_t)16)
#define MOST ((size_t)8) /* registers of sums */
#define SOURCES ((size_t)4)
#define FLAGS ((size_t)16) /* their number is a multiple */

typedef struct {
    const uint8_t *end; /* of the flags */
    size_t stride;      /* from the weights of four sources to those of the next */
    __mmask16 last;     /* lanes of the last register */
} tile_t;

void l2mu_flag_spikes_vnni(uint8_t *flags, uint16_t sources, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    __m128i none = _mm_setzero_si128();
    __asm__("" : "+x"(none)); /* flags are too few for memset */
    for (size_t i = 0; i < sources; i += FLAGS) {
        _mm_storeu_si128((__m128i *)(void *)&flags[i], none);
    }
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        flags[*spike] = 1U;
    }
}

/* The sums of `count` registers, the last with so many lanes, stay there while all sources pass by: every
 * one in so many ways, since an addition to a sum waits for the one before. */
INLINE void add_tile(const tile_t *tile, int16_t *v, const int8_t *weights, const uint8_t *flags, size_t count,
                     size_t ways)
{
    const size_t whole = count - 1U;
    const int8_t *row = weights;
    __m512i sums[MOST];
#pragma GCC unroll 8
    for (size_t i = 0; i < (ways * count); ++i) {
        sums[i] = _mm512_setzero_si512();
    }
    for (const uint8_t *flag = flags; flag != tile->end; flag += FLAGS) {
#pragma GCC unroll 4
        for (size_t step = 0; step < (FLAGS / SOURCES); ++step) {
            __m512i *const some = &sums[(step % ways) * count];
            int32_t four;
            (void)memcpy(&four, &flag[step * SOURCES], sizeof four);
            const __m512i factors = _mm512_set1_epi32(four);
#pragma GCC unroll 8
            for (size_t i = 0; i < count; ++i) {
                const __m512i weight = _mm512_loadu_si512(&row[i * SOURCES * LANES]);
                some[i] = _mm512_dpbusd_epi32(some[i], factors, weight);
            }
            row += tile->stride;
        }
    }
#pragma GCC unroll 8
    for (size_t i = count; i < (ways * count); ++i) {
        sums[i % count] = _mm512_add_epi32(sums[i % count], sums[i]);
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < count; ++i) {
        const __mmask16 lanes = (i == whole) ? tile->last : (__mmask16)0xFFFFU;
        const __m256i before = _mm256_maskz_loadu_epi16(lanes, &v[i * LANES]);
        const __m256i after = _mm256_add_epi16(before, _mm512_cvtepi32_epi16(sums[i]));
        _mm256_mask_storeu_epi16(&v[i * LANES], lanes, after);
    }
}

#define TILE(count, ways)                                                      \
    case count:                                                                \
        add_tile(&tile, &v[j], &p->weights[j * SOURCES], flags, count, ways); \
        break;

void l2mu_multiply_dense_i8_i16_vnni(const l2mu_dense_i8_t *p, int16_t *v, const uint8_t *flags)
{
    const size_t targets = p->targets;
    const size_t sources = (p->sources + FLAGS - 1U) & ~(FLAGS - 1U);
    tile_t tile = {&flags[sources], SOURCES * ((targets + LANES - 1U) & ~(LANES - 1U)), 0};
    for (size_t j = 0; j < targets; j += MOST * LANES) {
        const size_t left = ((targets - j) < (MOST * LANES)) ? (targets - j) : (MOST * LANES);
        const size_t count = (left + LANES - 1U) / LANES;
        tile.last = (__mmask16)(0xFFFFU >> ((count * LANES) - left));
        switch (count) {
            TILE(1U, 4U)
            TILE(2U, 4U)
            TILE(3U, 2U)
            TILE(4U, 2U)
            TILE(5U, 1U)
            TILE(6U, 1U)
            TILE(7U, 1U)
            TILE(8U, 1U)
        }
    }
}

#ifdef __clang__
#pragma clang attribute pop
#endif
