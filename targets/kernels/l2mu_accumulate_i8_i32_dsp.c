/* For processors with the DSP extension (Armv7E-M, Armv8-M), which add any byte of a word at once. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Weights lie as for int16 sums: rows are filled up to a multiple of eight, and in every word are those of
 * the targets 0, 2, 1 and 3. */

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

void l2mu_accumulate_dense_i8_i32_dsp(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    const uint16_t *const spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    const size_t stride = (p->targets + 7U) & ~(size_t)7U;
    const size_t whole = p->targets & ~(size_t)7U;
    for (size_t first = 0; first < whole; first += 8U) {
        add_eight(&v[first], &p->weights[first], stride, spike, end);
    }
    if (whole < stride) {
        int32_t sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        add_eight(sums, &p->weights[whole], stride, spike, end);
        for (size_t i = 0; i < (p->targets - whole); ++i) {
            v[whole + i] += sums[i];
        }
    }
}
