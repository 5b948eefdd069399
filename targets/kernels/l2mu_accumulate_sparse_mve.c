/* For processors with Helium (Armv8.1-M, integer MVE): eight int16 sums in a vector. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_sparse.h"

/* Add eight weights to eight sums. */
L2MU_INLINE void add_eight(int16_t *v, const int8_t *weights)
{
    vst1q_s16(v, vaddq_s16(vld1q_s16(v), vldrbq_s16(weights)));
}

void l2mu_accumulate_sparse8_i8_i16_mve(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_add_tiles(p, v, spikes, 8U, add_eight);
}
