/* For AVX2. */
#ifndef __AVX2__
#error "this file is for processors with AVX2; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

void l2mu_accumulate_dense_s4_i32_avx2(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes)
{
    l2mu_accumulate_packed(p, v, spikes, l2mu_accumulate_dense_s4_i16_avx2, 2U);
}
