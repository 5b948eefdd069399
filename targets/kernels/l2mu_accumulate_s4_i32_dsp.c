/* For processors with the DSP extension (Armv7E-M, Armv8-M). */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

void l2mu_accumulate_dense_s4_i32_dsp(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes)
{
    l2mu_accumulate_packed(p, v, spikes, l2mu_accumulate_dense_s4_i16_dsp, 2U);
}
