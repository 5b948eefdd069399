/* For Neon: eight int16 sums in a vector. */
#ifndef __ARM_NEON
#error "this file is for processors with Neon; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_sparse.h"

/* Add eight weights to eight sums. */
L2MU_INLINE void add_eight(int16_t *v, const int8_t *weights)
{
    vst1q_s16(v, vaddw_s8(vld1q_s16(v), vld1_s8(weights)));
}

void l2mu_accumulate_sparse8_i8_i16_neon(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_add_tiles(p, v, spikes, 8U, add_eight);
}
