/* For AArch64: up to 16 float sums in registers; to each, channels are added in their order. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define LANES ((size_t)4)
#define MOST ((size_t)8) /* registers of sums */

/* The weights of some targets: one column's are `stride` from the next one's. */
typedef struct {
    const float *weights;
    size_t stride;
    size_t columns;
} rows_t;

/* The sums of `count` registers stay there while all channels pass by. */
INLINE void add_tile(float *v, rows_t rows, const float *sample, size_t count)
{
    const float *weights = rows.weights;
    float32x4_t sums[MOST];
#pragma GCC unroll 8
    for (size_t i = 0; i < count; ++i) {
        sums[i] = vld1q_f32(&v[i * LANES]);
    }
    for (size_t column = 0; column < rows.columns; ++column) {
        const float channel = sample[column];
#pragma GCC unroll 8
        for (size_t i = 0; i < count; ++i) {
            const float32x4_t currents = vmulq_n_f32(vld1q_f32(&weights[i * LANES]), channel);
            sums[i] = vaddq_f32(sums[i], currents);
        }
        weights += rows.stride;
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < count; ++i) {
        vst1q_f32(&v[i * LANES], sums[i]);
    }
}

INLINE void add_one(float *v, rows_t rows, const float *sample)
{
    float total = *v;
    for (size_t column = 0; column < rows.columns; ++column) {
        const float current = rows.weights[column * rows.stride] * sample[column];
        total += current;
    }
    *v = total;
}

/* The widest tile of those that are left: how many targets it has. */
INLINE size_t add_widest_tile(float *v, rows_t rows, const float *sample, size_t left)
{
    if (left >= (MOST * LANES)) {
        add_tile(v, rows, sample, MOST);
        return MOST * LANES;
    }
    if (left >= (2U * LANES)) {
        add_tile(v, rows, sample, 2U);
        return 2U * LANES;
    }
    if (left >= LANES) {
        add_tile(v, rows, sample, 1U);
        return LANES;
    }
    add_one(v, rows, sample);
    return 1U;
}

void l2mu_input_f32_neon64(const l2mu_input_f32_t *p, float *v, const float *sample)
{
    const float *channels = sample;
    float *target = v;
    for (size_t block = 0; block < p->blocks; ++block) {
        const rows_t all = {p->weights + (block * p->block_step), p->rows, p->columns};
        for (size_t row = 0; row < p->rows;) {
            const rows_t rows = {&all.weights[row], all.stride, all.columns};
            const size_t added = add_widest_tile(target, rows, channels, p->rows - row);
            target += added;
            row += added;
        }
        channels += p->columns;
    }
}
