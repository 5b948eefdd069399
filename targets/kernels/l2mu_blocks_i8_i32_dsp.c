/* For processors with the DSP extension (Armv7E-M, Armv8-M), which add any byte of a word at once. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <string.h>

#include "l2mu_blocks.h"

L2MU_INLINE void add_row(int32_t *v, const int8_t *weights, size_t rows)
{
    size_t row = 0;
    L2MU_ONE_BY_ONE
    for (; (row + 4U) <= rows; row += 4U) {
        uint32_t four;
        (void)memcpy(&four, &weights[row], sizeof four);
        v[row] += (int8_t)(uint8_t)four;
        v[row + 1U] += (int8_t)(uint8_t)(four >> 8U);
        v[row + 2U] += (int8_t)(uint8_t)(four >> 16U);
        v[row + 3U] += (int8_t)(uint8_t)(four >> 24U);
    }
    L2MU_ONE_BY_ONE
    for (; row < rows; ++row) {
        v[row] += weights[row];
    }
}

void l2mu_accumulate_shared_i8_i32_dsp(int32_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, true, add_row);
}

void l2mu_accumulate_distinct_i8_i32_dsp(int32_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, false, add_row);
}
