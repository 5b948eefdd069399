/* Sums of int32 as fast as those of int16: up to 256 weights of int8 add up to an int16, whichever they
 * are. A dense projection's weights lie in strips of targets, each a smaller projection. */
#ifndef L2MU_STRIPS_H
#define L2MU_STRIPS_H

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#define L2MU_MOST_ROWS 256U
#define L2MU_PIECE 64U /* of a longer list of spikes */

typedef void l2mu_accumulate_narrow_t(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);

/* A kernel for int16, and the targets of a strip, a multiple of eight. */
typedef struct {
    l2mu_accumulate_narrow_t *accumulate;
    size_t targets;
} l2mu_strips_t;

/* So many sums are 0, and others up to a multiple of sixteen. */
L2MU_INLINE void l2mu_clear_sums(int16_t *sums, size_t count)
{
    uint32_t *pair = (uint32_t *)(void *)sums;
    const int16_t *const end = &sums[count];
    do {
        pair[0] = 0U;
        pair[1] = 0U;
        pair[2] = 0U;
        pair[3] = 0U;
        pair[4] = 0U;
        pair[5] = 0U;
        pair[6] = 0U;
        pair[7] = 0U;
        pair += 8;
        __asm__ volatile("" : "+r"(pair) : : "memory"); /* no call of memset */
    } while ((const int16_t *)(const void *)pair < end);
}

/* v += sums, of which there are some more than `count`. */
L2MU_INLINE void l2mu_add_sums(int32_t *v, const int16_t *sums, size_t count)
{
    int32_t *const end = &v[count];
#if defined(__thumb__) && !defined(__ARM_FEATURE_MVE)
    /* Two in a word, which are loaded at once. */
    const uint32_t *pair = (const uint32_t *)(const void *)sums;
    int32_t *to = v;
    for (; (end - to) >= 4; to += 4) {
        const uint32_t first = pair[0];
        const uint32_t second = pair[1];
        const int32_t next[4] = {to[0], to[1], to[2], to[3]};
        pair += 2;
        to[0] = next[0] + (int16_t)(uint16_t)first;
        to[1] = next[1] + ((int32_t)first >> 16U);
        to[2] = next[2] + (int16_t)(uint16_t)second;
        to[3] = next[3] + ((int32_t)second >> 16U);
    }
    sums = (const int16_t *)(const void *)pair;
#else
    int32_t *to = v;
#endif
    for (; to != end; ++to) {
        *to += *sums;
        ++sums;
    }
}

L2MU_INLINE void l2mu_add_strips(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes,
                                 l2mu_strips_t by, int16_t *sums)
{
    l2mu_dense_i8_t strip = *p;
    int32_t *target = v;
    for (size_t left = p->targets; left > 0U; left -= strip.targets) {
        strip.targets = (uint16_t)((left < by.targets) ? left : by.targets);
        l2mu_clear_sums(sums, strip.targets);
        by.accumulate(&strip, sums, spikes);
        l2mu_add_sums(target, sums, strip.targets);
        target += strip.targets;
        strip.weights += by.targets * p->sources;
    }
}

/* v += the weights of every spike, as `l2mu_accumulate_dense_i8_i32`; there is room for a strip's sums,
 * and for more up to a multiple of sixteen. */
L2MU_INLINE void l2mu_accumulate_strips(const l2mu_dense_i8_t *p, int32_t *v,
                                        const uint16_t *spikes, l2mu_strips_t by, int16_t *sums)
{
    const size_t count = spikes[0];
    const uint16_t *list = spikes;
    size_t done = 0;
    uint16_t piece[1U + L2MU_PIECE];
    while (done < count) {
        size_t some = count - done;
        if (count > L2MU_MOST_ROWS) {
            some = (some < L2MU_PIECE) ? some : L2MU_PIECE;
            piece[0] = (uint16_t)some;
            for (size_t i = 1; i <= some; ++i) {
                piece[i] = spikes[done + i];
            }
            list = piece;
        }
        l2mu_add_strips(p, v, list, by, sums);
        done += some;
    }
}

#endif
