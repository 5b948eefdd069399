/* For AVX2: 128 weights in 32 bytes, of which the lowest two bits are of the first 32 targets. */
#ifndef __AVX2__
#error "this file is for processors with AVX2; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define WIDTH 32U

/* As `l2mu_add_ternary_word`. */
L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const __m256i mask = _mm256_set1_epi8(0x0F);
    const size_t targets = (tile->targets < (4U * width)) ? tile->targets : (4U * width);
    const uint16_t *const last = spikes + rows;
    const uint16_t *spike = spikes;
    uint8_t bytes[5U * WIDTH];
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    do {
        const uint16_t *const end = ((last - spike) < 7) ? last : (spike + 7);
        __m256i even = _mm256_setzero_si256();
        __m256i odd = _mm256_setzero_si256();
        do {
            const __m256i row = l2mu_row_of_bytes(&tile->weights[*spike * width], width);
            ++spike;
            even = _mm256_add_epi8(even, _mm256_and_si256(row, _mm256_set1_epi8(0x33)));
            odd = _mm256_add_epi16(odd, _mm256_srli_epi16(row, 2));
        } while (spike != end);
        const __m256i upper = _mm256_srli_epi16(even, 4);
        odd = _mm256_sub_epi16(odd, _mm256_slli_epi16(upper, 2));
        sums[0] = _mm256_add_epi8(sums[0], _mm256_and_si256(even, mask));
        sums[1] = _mm256_add_epi8(sums[1], _mm256_and_si256(odd, mask));
        sums[2] = _mm256_add_epi8(sums[2], _mm256_and_si256(upper, mask));
        sums[3] = _mm256_add_epi8(sums[3], _mm256_and_si256(_mm256_srli_epi16(odd, 4), mask));
    } while (spike != last);
    for (size_t part = 0; part < 4U; ++part) {
        _mm256_storeu_si256((__m256i *)(void *)&bytes[part * width], sums[part]);
    }
    l2mu_add_bytes(v, bytes, (uint32_t)rows, tile->quantum, targets);
}

void l2mu_accumulate_dense_i2_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 4U};
    l2mu_accumulate_tiles(p, v, spikes, L2MU_TERNARY_ROWS, by);
}
