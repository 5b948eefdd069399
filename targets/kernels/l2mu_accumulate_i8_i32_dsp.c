/* For processors with the DSP extension (Armv7E-M, Armv8-M). */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_strips.h"

#define STRIP 128U /* targets */

void l2mu_accumulate_dense_i8_i32_dsp(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    int16_t sums[STRIP] __attribute__((aligned(4)));
    const l2mu_strips_t strips = {l2mu_accumulate_dense_i8_i16_dsp, STRIP};
    l2mu_accumulate_strips(p, v, spikes, strips, sums);
}
