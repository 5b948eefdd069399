/* For processors with the DSP extension (Armv7E-M, Armv8-M), which add any byte of a word at once. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Weights lie as for int16 sums: in tiles of 16, 8 and 4 targets, and in every word those of the targets 0,
 * 2, 1 and 3. */
#define TILE 16U

/* Add four weights to four sums. */
INLINE void add_four(int32_t *sums, uint32_t weights)
{
    sums[0] += (int8_t)(uint8_t)weights;
    sums[1] += (int8_t)(uint8_t)(weights >> 16U);
    sums[2] += (int8_t)(uint8_t)(weights >> 8U);
    sums[3] += (int8_t)(uint8_t)(weights >> 24U);
}

/* Eight sums stay in registers while the rows of all spikes pass by; rows are `stride` bytes apart. */
INLINE void add_eight(int32_t *v, const int8_t *weights, size_t stride, const uint16_t *spike,
                      const uint16_t *end)
{
    int32_t sums[8];
    for (size_t i = 0; i < 8U; ++i) {
        sums[i] = v[i];
    }
    for (; spike != end; ++spike) {
        const uint32_t *const row = (const uint32_t *)(const void *)&weights[stride * *spike];
        add_four(&sums[0], row[0]);
        add_four(&sums[4], row[1]);
    }
    for (size_t i = 0; i < 8U; ++i) {
        v[i] = sums[i];
    }
}

/* The same of the first eight weights in a row, of which only `count` have a sum. */
static void add_some(int32_t *v, size_t count, const int8_t *weights, size_t stride,
                     const uint16_t *spike, const uint16_t *end)
{
    int32_t sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    add_eight(sums, weights, stride, spike, end);
    for (size_t i = 0; i < count; ++i) {
        v[i] += sums[i];
    }
}

static void add_last(int32_t *v, size_t count, const int8_t *weights, const uint16_t *spike,
                     const uint16_t *end)
{
    int32_t sums[4] = {0, 0, 0, 0};
    for (; spike != end; ++spike) {
        add_four(sums, ((const uint32_t *)(const void *)weights)[*spike]);
    }
    for (size_t i = 0; i < count; ++i) {
        v[i] += sums[i];
    }
}

void l2mu_accumulate_dense_i8_i32_dsp(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    const uint16_t *const spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    const int8_t *weights = p->weights;
    int32_t *target = v;
    size_t left = p->targets;
    for (; left >= TILE; left -= TILE) {
        add_eight(target, weights, TILE, spike, end);
        add_eight(&target[8], &weights[8], TILE, spike, end);
        target += TILE;
        weights += (size_t)TILE * p->sources;
    }
    if (left > 4U) {
        const size_t stride = (left > 12U) ? TILE : 8U;
        const size_t count = (left < 8U) ? left : 8U;
        add_some(target, count, weights, stride, spike, end);
        weights += (left > 12U) ? 8U : (8U * (size_t)p->sources);
        target += count;
        left -= count;
        if (left > 4U) {
            add_some(target, left, weights, TILE, spike, end);
            left = 0;
        }
    }
    if (left > 0U) {
        add_last(target, left, weights, spike, end);
    }
}
