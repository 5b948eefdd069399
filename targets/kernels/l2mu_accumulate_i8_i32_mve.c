/* For processors with Helium (Armv8.1-M, integer MVE): four int32 sums in a vector. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_kernels.h"

#define LANES 4U
#define VECTORS 7U
#define TILE (LANES * VECTORS)

/* The sums of a tile stay in registers while the rows of all spikes pass by. */
static inline __attribute__((always_inline)) void
add_tile(int32_t *v, const int8_t *weights, size_t targets, const uint16_t *spike, const uint16_t *end)
{
    int32x4_t sums[VECTORS];
    for (size_t i = 0; i < VECTORS; ++i) {
        sums[i] = vldrwq_s32(&v[LANES * i]);
    }
    for (; spike != end; ++spike) {
        const int8_t *const row = &weights[targets * *spike];
        sums[0] = vaddq_s32(sums[0], vldrbq_s32(row));
        sums[1] = vaddq_s32(sums[1], vldrbq_s32(&row[4]));
        sums[2] = vaddq_s32(sums[2], vldrbq_s32(&row[8]));
        sums[3] = vaddq_s32(sums[3], vldrbq_s32(&row[12]));
        sums[4] = vaddq_s32(sums[4], vldrbq_s32(&row[16]));
        sums[5] = vaddq_s32(sums[5], vldrbq_s32(&row[20]));
        sums[6] = vaddq_s32(sums[6], vldrbq_s32(&row[24]));
    }
    for (size_t i = 0; i < VECTORS; ++i) {
        vstrwq_s32(&v[LANES * i], sums[i]);
    }
}

/* Four sums, or the `left` that there are. */
static void add_vector(int32_t *v, size_t left, const int8_t *weights, size_t targets,
                       const uint16_t *spike, const uint16_t *end)
{
    const mve_pred16_t some = vctp32q((uint32_t)left);
    int32x4_t sums = vldrwq_z_s32(v, some);
    for (; spike != end; ++spike) {
        sums = vaddq_s32(sums, vldrbq_z_s32(&weights[targets * *spike], some));
    }
    vstrwq_p_s32(v, sums, some);
}

void l2mu_accumulate_dense_i8_i32_mve(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    const uint16_t *const spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    const size_t targets = p->targets;
    const int8_t *const weights = p->weights;
    size_t first = 0;
    for (; (first + TILE) <= targets; first += TILE) {
        add_tile(&v[first], &weights[first], targets, spike, end);
    }
    for (; first < targets; first += LANES) {
        add_vector(&v[first], targets - first, &weights[first], targets, spike, end);
    }
}
