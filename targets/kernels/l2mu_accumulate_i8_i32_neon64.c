/* For AArch64. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include "l2mu_strips.h"

#define STRIP 160U /* targets */

void l2mu_accumulate_dense_i8_i32_neon64(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    int16_t sums[STRIP] __attribute__((aligned(16)));
    const l2mu_strips_t strips = {l2mu_accumulate_dense_i8_i16_neon64, STRIP};
    l2mu_accumulate_strips(p, v, spikes, strips, sums);
}
