/* For AVX2: 64 weights in 32 bytes, the lower four bits of which are of the first 32 targets; a register
 * is the table of what they stand for. */
#ifndef __AVX2__
#error "this file is for processors with AVX2; compile the network for this processor, see --target"
#endif

#include "l2mu_powers.h"

#define WIDTH 32U

/* Sums of pairs of bytes, as of numbers of 16 bits, and of the second bytes. */
typedef struct {
    __m256i both;
    __m256i second;
} sums_t;

L2MU_INLINE sums_t plus(sums_t sums, __m256i pairs)
{
    const sums_t more = {_mm256_add_epi16(sums.both, pairs),
                         _mm256_add_epi16(sums.second, _mm256_srli_epi16(pairs, 8))};
    return more;
}

/* The sums of up to 32 bytes in order: of the first 16 half are at once, half 16 bytes on. */
L2MU_INLINE void store(int16_t *to, sums_t sums)
{
    const __m256i first = _mm256_sub_epi16(sums.both, _mm256_slli_epi16(sums.second, 8));
    const __m256i low = _mm256_unpacklo_epi16(first, sums.second);
    const __m256i high = _mm256_unpackhi_epi16(first, sums.second);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)&to[16], _mm256_permute2x128_si256(low, high, 0x31));
}

L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)(const void *)L2MU_POWERS));
    const __m256i mask = _mm256_set1_epi8(0x0F);
    const __m128i excess = _mm_set1_epi16((int16_t)(L2MU_POWERS_EXCESS * (uint32_t)rows));
    const size_t targets = (tile->targets < (2U * width)) ? tile->targets : (2U * width);
    int16_t sums[2U * WIDTH];
    sums_t lower = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    sums_t upper = lower;
    for (size_t i = 0; i < rows; ++i) {
        const __m256i row = l2mu_row_of_bytes(&tile->weights[spikes[i] * width], width);
        const __m256i above = _mm256_and_si256(_mm256_srli_epi16(row, 4), mask);
        lower = plus(lower, _mm256_shuffle_epi8(table, _mm256_and_si256(row, mask)));
        upper = plus(upper, _mm256_shuffle_epi8(table, above));
    }
    store(sums, lower);
    store(&sums[width], upper);
    for (size_t j = 0; j < targets; j += 8U) {
        const __m128i each = _mm_loadu_si128((const __m128i *)(const void *)&sums[j]);
        l2mu_add_products(&v[j], _mm_sub_epi16(each, excess), &tile->quantum[j]);
    }
}

void l2mu_accumulate_dense_s4_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 2U};
    if (spikes[0] > 0U) {
        l2mu_add_tiles(p, v, spikes + 1, spikes[0], by);
    }
}
