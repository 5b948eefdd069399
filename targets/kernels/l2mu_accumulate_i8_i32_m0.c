/* For Armv6-M. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_strips.h"

#define STRIP 128U /* targets */

void l2mu_accumulate_dense_i8_i32_m0(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    int16_t sums[STRIP] __attribute__((aligned(4)));
    const l2mu_strips_t strips = {l2mu_accumulate_dense_i8_i16_m0, STRIP};
    l2mu_accumulate_strips(p, v, spikes, strips, sums);
}
