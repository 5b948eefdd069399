/* For processors with Helium (Armv8.1-M, integer MVE): four int32 sums in a vector. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_blocks.h"

L2MU_INLINE void add_row(int32_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    L2MU_ONE_BY_ONE
    for (; (row + 4U) <= rows; row += 4U) {
        vstrwq_s32(&v[row], vaddq_s32(vldrwq_s32(&v[row]), vldrbq_s32(&weights[row])));
    }
    if (row < rows) {
        const mve_pred16_t some = vctp32q((uint32_t)(rows - row));
        const int32x4_t sums = vldrwq_z_s32(&v[row], some);
        vstrwq_p_s32(&v[row], vaddq_s32(sums, vldrbq_z_s32(&weights[row], some)), some);
    }
}

void l2mu_accumulate_shared_i8_i32_mve(int32_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, true, add_row);
}

void l2mu_accumulate_distinct_i8_i32_mve(int32_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, false, add_row);
}
