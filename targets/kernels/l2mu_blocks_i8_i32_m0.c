/* For Armv6-M. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_blocks.h"

L2MU_INLINE void add_row(int32_t *v, const int8_t *weights, size_t rows)
{
    int32_t *target = v;
    const int8_t *weight = weights;
    size_t left = rows;
    L2MU_ONE_BY_ONE
    for (; left >= 4U; left -= 4U) {
        target[0] += weight[0];
        target[1] += weight[1];
        target[2] += weight[2];
        target[3] += weight[3];
        target += 4;
        weight += 4;
    }
    L2MU_ONE_BY_ONE
    for (; left != 0U; --left) {
        *target += *weight;
        ++target;
        ++weight;
    }
}

void l2mu_accumulate_shared_i8_i32_m0(int32_t *v, uint16_t rows, uint16_t columns,
                                      const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, true, add_row);
}

void l2mu_accumulate_distinct_i8_i32_m0(int32_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes)
{
    l2mu_add_blocks(v, rows, columns, weights, spikes, false, add_row);
}
