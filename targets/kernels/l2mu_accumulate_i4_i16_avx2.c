/* For AVX2: 64 weights in 32 bytes, the lower four bits of which are of the first 32 targets. */
#ifndef __AVX2__
#error "this file is for processors with AVX2; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define ROWS 17U /* times 15 is in a byte */
#define WIDTH 32U

L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const __m256i mask = _mm256_set1_epi8(0x0F);
    const size_t targets = (tile->targets < (2U * width)) ? tile->targets : (2U * width);
    uint8_t sums[2U * WIDTH];
    __m256i even = _mm256_setzero_si256();
    __m256i odd = _mm256_setzero_si256();
    for (size_t i = 0; i < rows; ++i) {
        const __m256i row = l2mu_row_of_bytes(&tile->weights[spikes[i] * width], width);
        even = _mm256_add_epi8(even, _mm256_and_si256(row, mask));
        odd = _mm256_add_epi8(odd, _mm256_and_si256(_mm256_srli_epi16(row, 4), mask));
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, even);
    _mm256_storeu_si256((__m256i *)(void *)&sums[width], odd);
    l2mu_add_bytes(v, sums, 8U * (uint32_t)rows, tile->quantum, targets);
}

void l2mu_accumulate_dense_i4_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 2U};
    l2mu_accumulate_tiles(p, v, spikes, ROWS, by);
}
