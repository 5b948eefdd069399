/* For AVX2: 64 weights in 32 bytes, the lower four bits of which are of the first 32 targets. */
#ifndef __AVX2__
#error "this file is for processors with AVX2; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define ROWS 17U /* times 15 is in a byte */
#define TILE 64U
#define HALF 32U

/* The sums of some rows to 64 targets. */
L2MU_INLINE void sum_tile(uint8_t *sums, const uint8_t *weights, const uint16_t *spikes, size_t rows)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i even = _mm256_setzero_si256();
    __m256i odd = _mm256_setzero_si256();
    for (size_t i = 0; i < rows; ++i) {
        const void *const row = &weights[(size_t)spikes[i] * HALF];
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)row);
        even = _mm256_add_epi8(even, _mm256_and_si256(bytes, mask));
        odd = _mm256_add_epi8(odd, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask));
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, even);
    _mm256_storeu_si256((__m256i *)(void *)&sums[HALF], odd);
}

/* The same to 32. */
L2MU_INLINE void sum_half(uint8_t *sums, const uint8_t *weights, const uint16_t *spikes, size_t rows)
{
    const __m128i mask = _mm_set1_epi8(15);
    __m128i even = _mm_setzero_si128();
    __m128i odd = _mm_setzero_si128();
    for (size_t i = 0; i < rows; ++i) {
        const void *const row = &weights[(size_t)spikes[i] * (HALF / 2U)];
        const __m128i bytes = _mm_loadu_si128((const __m128i *)row);
        even = _mm_add_epi8(even, _mm_and_si128(bytes, mask));
        odd = _mm_add_epi8(odd, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask));
    }
    _mm_storeu_si128((__m128i *)(void *)sums, even);
    _mm_storeu_si128((__m128i *)(void *)&sums[HALF / 2U], odd);
}

/* Some rows to all targets, as many of which as are a multiple of eight have a place. */
static void add_rows(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes, size_t rows)
{
    const uint32_t excess = 8U * (uint32_t)rows;
    const uint8_t *weights = p->weights;
    const int16_t *quantum = p->quantum;
    uint8_t sums[TILE];
    int16_t *to = v;
    size_t left = p->targets;
    while (left > HALF) {
        const size_t some = (left < TILE) ? left : TILE;
        sum_tile(sums, weights, spikes, rows);
        l2mu_add_bytes(to, sums, excess, quantum, some);
        weights += (size_t)p->sources * HALF;
        quantum += TILE;
        to += TILE;
        left -= some;
    }
    if (left > 0U) {
        sum_half(sums, weights, spikes, rows);
        l2mu_add_bytes(to, sums, excess, quantum, left);
    }
}

void l2mu_accumulate_dense_i4_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < ROWS) ? left : ROWS;
        add_rows(p, v, spike, rows);
        spike += rows;
        left -= rows;
    }
}
