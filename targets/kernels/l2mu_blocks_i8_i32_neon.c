/* For processors with NEON, 32 and 64 bits: four int32 sums at a time. */
#ifndef __ARM_NEON
#error "this file is for processors with NEON; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <string.h>

#include "l2mu_blocks.h"

L2MU_INLINE void add_row(int32_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    L2MU_ONE_BY_ONE
    for (; (row + 4U) <= rows; row += 4U) {
        uint32_t four;
        (void)memcpy(&four, &weights[row], sizeof four);
        const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
        vst1q_s32(&v[row], vaddw_s16(vld1q_s32(&v[row]), vget_low_s16(wide)));
    }
    L2MU_ONE_BY_ONE
    for (; row < rows; ++row) {
        v[row] += weights[row];
    }
}

void l2mu_accumulate_shared_i8_i32_neon(int32_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, true, add_row);
}

void l2mu_accumulate_distinct_i8_i32_neon(int32_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, false, add_row);
}
