/* The tiles of every spike, one after the other: what kernels that add a tile at a time have in common. */
#ifndef L2MU_SPARSE_H
#define L2MU_SPARSE_H

#include "l2mu_arith.h"

/* Add the weights of a tile to its targets. */
typedef void l2mu_add_tile_t(int16_t *v, const int8_t *weights);

/* Tiles are of `width` targets. */
L2MU_INLINE void l2mu_add_tiles(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes,
                                size_t width, l2mu_add_tile_t *add)
{
    const int8_t *const weights = p->weights;
    const uint8_t *const deltas = p->delta;
    const uint16_t *const starts = p->start;
    const uint16_t *spike = &spikes[1];
    const uint16_t *const end = &spike[spikes[0]];
    for (; spike != end; ++spike) {
        const size_t first = starts[*spike];
        const uint8_t *delta = &deltas[first];
        const uint8_t *const last = &deltas[starts[*spike + 1U]];
        const int8_t *tile = &weights[first * width];
        int16_t *to = v;
        for (; delta != last; ++delta) {
            to = &to[*delta * width];
            add(to, tile);
            tile = &tile[width];
        }
    }
}

#endif
