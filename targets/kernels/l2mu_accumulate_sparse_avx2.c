/* For AVX2: eight int16 sums in a vector. */
#ifndef __AVX2__
#error "this file is for processors with AVX2; compile the network for this processor, see --target"
#endif

#include <immintrin.h>

#include "l2mu_sparse.h"

/* Add eight weights to eight sums. */
L2MU_INLINE void add_eight(int16_t *v, const int8_t *weights)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)weights);
    const __m128i before = _mm_loadu_si128((const __m128i *)(const void *)v);
    _mm_storeu_si128((__m128i *)(void *)v, _mm_add_epi16(before, _mm_cvtepi8_epi16(bytes)));
}

void l2mu_accumulate_sparse8_i8_i16_avx2(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_add_tiles(p, v, spikes, 8U, add_eight);
}
