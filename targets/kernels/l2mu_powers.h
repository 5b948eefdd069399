/* Weights that are powers of two, either way, or zero: two in a byte. */
#ifndef L2MU_POWERS_H
#define L2MU_POWERS_H

#include "l2mu_packed.h"

/* Multiples are stored 64 greater, so that none has a sign: so many rows of them are in 16 bits. */
#define L2MU_POWERS_ROWS 511U
#define L2MU_POWERS_EXCESS 64U

/* Pairs of multiples with this one in the upper half, the other of every value that four bits have. */
#define L2MU_PAIRS_WITH(upper)                                                              \
    L2MU_PAIR(upper, 0), L2MU_PAIR(upper, 32), L2MU_PAIR(upper, 48), L2MU_PAIR(upper, 56),  \
        L2MU_PAIR(upper, 60), L2MU_PAIR(upper, 62), L2MU_PAIR(upper, 63),                   \
        L2MU_PAIR(upper, 64), L2MU_PAIR(upper, 65), L2MU_PAIR(upper, 66),                   \
        L2MU_PAIR(upper, 68), L2MU_PAIR(upper, 72), L2MU_PAIR(upper, 80),                   \
        L2MU_PAIR(upper, 96), L2MU_PAIR(upper, 128), L2MU_PAIR(upper, 64)
#define L2MU_PAIR(upper, lower) (((uint32_t)(upper) << 16U) | (lower))

/* What four bits stand for. */
static const uint8_t L2MU_POWERS[16] = {L2MU_PAIRS_WITH(0U)};

/* What a byte stands for: the multiple of its lower four bits, and of its upper ones, 16 bits each. */
static const uint32_t L2MU_PAIRS_OF_POWERS[256] = {
    L2MU_PAIRS_WITH(0U),  L2MU_PAIRS_WITH(32U), L2MU_PAIRS_WITH(48U),  L2MU_PAIRS_WITH(56U),
    L2MU_PAIRS_WITH(60U), L2MU_PAIRS_WITH(62U), L2MU_PAIRS_WITH(63U),  L2MU_PAIRS_WITH(64U),
    L2MU_PAIRS_WITH(65U), L2MU_PAIRS_WITH(66U), L2MU_PAIRS_WITH(68U),  L2MU_PAIRS_WITH(72U),
    L2MU_PAIRS_WITH(80U), L2MU_PAIRS_WITH(96U), L2MU_PAIRS_WITH(128U), L2MU_PAIRS_WITH(64U),
};

L2MU_INLINE void l2mu_add_powers_two(int16_t *v, uint32_t sums, uint32_t excess, const int16_t *quantum)
{
    v[0] = (int16_t)(v[0] + (((int32_t)(sums & 0xFFFFU) - (int32_t)excess) * quantum[0]));
    v[1] = (int16_t)(v[1] + (((int32_t)(sums >> 16U) - (int32_t)excess) * quantum[1]));
}

/* Some rows, at most L2MU_POWERS_ROWS, of eight targets that are four bytes. */
L2MU_INLINE void l2mu_add_powers_eight(int16_t *v, const uint8_t *weights, const uint16_t *spikes,
                                       size_t rows, const int16_t *quantum)
{
    const uint32_t excess = L2MU_POWERS_EXCESS * (uint32_t)rows;
    const uint16_t *const end = spikes + rows;
    const uint16_t *spike = spikes;
    uint32_t sums[4] = {0U, 0U, 0U, 0U};
    do {
        const uint8_t *const row = &weights[4U * (size_t)*spike];
        ++spike;
        sums[0] += L2MU_PAIRS_OF_POWERS[row[0]];
        sums[1] += L2MU_PAIRS_OF_POWERS[row[1]];
        sums[2] += L2MU_PAIRS_OF_POWERS[row[2]];
        sums[3] += L2MU_PAIRS_OF_POWERS[row[3]];
    } while (spike != end);
    l2mu_add_powers_two(v, sums[0], excess, quantum);
    l2mu_add_powers_two(&v[2], sums[1], excess, &quantum[2]);
    l2mu_add_powers_two(&v[4], sums[2], excess, &quantum[4]);
    l2mu_add_powers_two(&v[6], sums[3], excess, &quantum[6]);
}

/* What assembly works on, tiles of 16 targets. It moves on v, quantum and weights. */
typedef struct {
    int16_t *v;
    const int16_t *quantum;
    const uint8_t *weights;
    size_t tile_bytes; /* from the weights of one tile to those of the next */
    const uint16_t *spike;
    const uint16_t *end; /* at least one and at most L2MU_POWERS_ROWS spikes later */
    uint32_t excess;     /* of all rows */
    const uint32_t *pairs;
    const int16_t *v_end;
} l2mu_powers_t;

/* v += the weights of every spike, as `l2mu_accumulate_dense_s4_i16`. */
L2MU_INLINE void l2mu_accumulate_powers(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes,
                                        void (*add_tiles)(l2mu_powers_t *))
{
    const size_t targets = ((size_t)p->targets + 7U) / 8U * 8U;
    const size_t tiled = targets / 16U * 16U;
    const uint16_t *spike = spikes + 1;
    l2mu_powers_t tiles;
    tiles.v_end = &v[tiled];
    tiles.tile_bytes = (size_t)p->sources * 8U;
    tiles.pairs = L2MU_PAIRS_OF_POWERS;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < L2MU_POWERS_ROWS) ? left : L2MU_POWERS_ROWS;
        tiles.v = v;
        tiles.quantum = p->quantum;
        tiles.weights = p->weights;
        tiles.spike = spike;
        tiles.end = spike + rows;
        tiles.excess = L2MU_POWERS_EXCESS * (uint32_t)rows;
        if (tiled > 0U) {
            add_tiles(&tiles);
        }
        if (tiled < targets) {
            l2mu_add_powers_eight(tiles.v, tiles.weights, spike, rows, tiles.quantum);
        }
        spike += rows;
        left -= rows;
    }
}

#endif
