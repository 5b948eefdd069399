/* For x86-64 processors with AVX2: 16 int16 sums in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

#include "l2mu_strips.h"

#define STRIP 128U /* targets */

void l2mu_accumulate_dense_i8_i32_avx2(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    int16_t sums[STRIP] __attribute__((aligned(64)));
    const l2mu_strips_t strips = {l2mu_accumulate_dense_i8_i16_avx2, STRIP};
    l2mu_accumulate_strips(p, v, spikes, strips, sums);
}
