/* Sums of int32 as fast as those of int16: up to 32 weights, of four bits times a quantum of at most 127,
 * add up to an int16. A dense projection's weights lie in tiles of targets, each a smaller projection. */
#ifndef L2MU_PACKED_H
#define L2MU_PACKED_H

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#define L2MU_PACKED_ROWS 32U
#define L2MU_PACKED_TARGETS 128U /* of a strip: a multiple of every set's tiles */

typedef void l2mu_accumulate_packed_t(const l2mu_dense_i4_t *p, int16_t *v, const uint16_t *spikes);

/* v += the weights of every spike, as `l2mu_accumulate_dense_i4_i32`, by a kernel for int16. */
L2MU_INLINE void l2mu_accumulate_packed(const l2mu_dense_i4_t *p, int32_t *v, const uint16_t *spikes,
                                        l2mu_accumulate_packed_t *accumulate)
{
    int16_t sums[L2MU_PACKED_TARGETS] L2MU_ALIGNED;
    uint16_t piece[1U + L2MU_PACKED_ROWS];
    const size_t count = spikes[0];
    for (size_t done = 0; done < count; done += piece[0]) {
        const size_t left = count - done;
        l2mu_dense_i4_t strip = *p;
        int32_t *to = v;
        piece[0] = (uint16_t)((left < L2MU_PACKED_ROWS) ? left : L2MU_PACKED_ROWS);
        for (size_t i = 1; i <= piece[0]; ++i) {
            piece[i] = spikes[done + i];
        }
        for (size_t wanted = p->targets; wanted > 0U; wanted -= strip.targets) {
            const size_t some = (wanted < L2MU_PACKED_TARGETS) ? wanted : L2MU_PACKED_TARGETS;
            strip.targets = (uint16_t)some;
            for (size_t j = 0; j < ((some + 7U) / 8U * 8U); ++j) {
                sums[j] = 0;
            }
            accumulate(&strip, sums, piece);
            for (size_t j = 0; j < some; ++j) {
                to[j] += sums[j];
            }
            to += some;
            strip.quantum += some;
            strip.weights += (some / 2U) * p->sources;
        }
    }
}

#endif
