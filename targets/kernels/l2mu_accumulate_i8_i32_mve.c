/* For processors with Helium (Armv8.1-M, integer MVE). */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include "l2mu_strips.h"

#define STRIP 112U /* targets */

void l2mu_accumulate_dense_i8_i32_mve(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    int16_t sums[STRIP] __attribute__((aligned(8)));
    const l2mu_strips_t strips = {l2mu_accumulate_dense_i8_i16_mve, STRIP};
    l2mu_accumulate_strips(p, v, spikes, strips, sums);
}
