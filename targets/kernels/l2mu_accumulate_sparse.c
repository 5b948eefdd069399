#include "l2mu_sparse.h"

L2MU_INLINE void add_some(int16_t *v, const int8_t *weights, size_t width)
{
    for (size_t k = 0; k < width; ++k) {
        v[k] = (int16_t)(v[k] + weights[k]);
    }
}

L2MU_INLINE void add_one(int16_t *v, const int8_t *weights)
{
    add_some(v, weights, 1U);
}

L2MU_INLINE void add_four(int16_t *v, const int8_t *weights)
{
    add_some(v, weights, 4U);
}

L2MU_INLINE void add_eight(int16_t *v, const int8_t *weights)
{
    add_some(v, weights, 8U);
}

/* Tiles are of `width` targets, of which the last may not all be there. */
L2MU_INLINE void add_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes, size_t width)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    for (; spike != end; ++spike) {
        size_t j = 0;
        for (size_t tile = p->start[*spike]; tile < p->start[*spike + 1U]; ++tile) {
            const int8_t *const weights = &p->weights[tile * width];
            j += p->delta[tile] * width;
            const size_t left = p->targets - j;
            const size_t some = (left < width) ? left : width;
            for (size_t k = 0; k < some; ++k) {
                v[j + k] += weights[k];
            }
        }
    }
}

void l2mu_accumulate_sparse1_i8_i16(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_add_tiles(p, v, spikes, 1U, add_one);
}

void l2mu_accumulate_sparse4_i8_i16(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_add_tiles(p, v, spikes, 4U, add_four);
}

void l2mu_accumulate_sparse8_i8_i16(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    l2mu_add_tiles(p, v, spikes, 8U, add_eight);
}

void l2mu_accumulate_sparse1_i8_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    add_i32(p, v, spikes, 1U);
}

void l2mu_accumulate_sparse4_i8_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    add_i32(p, v, spikes, 4U);
}

void l2mu_accumulate_sparse8_i8_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes)
{
    add_i32(p, v, spikes, 8U);
}
