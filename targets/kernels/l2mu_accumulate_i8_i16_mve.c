/* For processors with Helium (Armv8.1-M, integer MVE): eight int16 sums in a vector. */
#include <arm_mve.h>

#include "l2mu_kernels.h"

#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium"
#endif

#define LANES 8U
#define TILE_VECTORS 7U

/* Instructions for each of 1 to 7 vectors of sums, q0 to q6, and their place among a tile's. */
#define EACH_1(DO) DO("q0", "0", "0")
#define EACH_2(DO) EACH_1(DO) DO("q1", "8", "16")
#define EACH_3(DO) EACH_2(DO) DO("q2", "16", "32")
#define EACH_4(DO) EACH_3(DO) DO("q3", "24", "48")
#define EACH_5(DO) EACH_4(DO) DO("q4", "32", "64")
#define EACH_6(DO) EACH_5(DO) DO("q5", "40", "80")
#define EACH_7(DO) EACH_6(DO) DO("q6", "48", "96")
#define LOAD(sum, weight, place) "    vldrh.u16 " sum ", [%[v], #" place "]\n"
#define STORE(sum, weight, place) "    vstrh.16 " sum ", [%[v], #" place "]\n"
#define ADD(sum, weight, place)              \
    "    vldrb.s16 q7, [%[row], #" weight "]\n" \
    "    vadd.i16 " sum ", " sum ", q7\n"

/* Add the rows of all spikes, at least one, to a tile of sums, which stay in registers meanwhile. */
#define TILE(vectors)                                                                           \
    static inline void add_tile_##vectors(int16_t *v, const int8_t *weights, const uint16_t *spikes) \
    {                                                                                           \
        const uint16_t *spike = &spikes[1];                                                     \
        const int8_t *row;                                                                      \
        __asm__ volatile(EACH_##vectors(LOAD)                                                   \
                         "    dls    lr, %[count]\n"                                            \
                         "1:  ldrh   %[row], [%[spike]], #2\n"                                  \
                         "    mla    %[row], %[row], %[row_bytes], %[weights]\n"                \
                         EACH_##vectors(ADD)                                                    \
                         "    le     lr, 1b\n"                                                  \
                         EACH_##vectors(STORE)                                                  \
                         : [spike] "+r"(spike), [row] "=&l"(row)                                \
                         : [v] "r"(v), [weights] "r"(weights), [count] "r"((size_t)spikes[0]),  \
                           [row_bytes] "r"(LANES * (size_t)(vectors))                           \
                         : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "memory");     \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)

void l2mu_accumulate_dense_i8_i16_mve(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const int8_t *weights = p->weights;
    int16_t *target = v;
    size_t vectors = (p->targets + (LANES - 1U)) / LANES;
    if (spikes[0] == 0U) {
        return;
    }
    for (; vectors >= TILE_VECTORS; vectors -= TILE_VECTORS) {
        add_tile_7(target, weights, spikes);
        target += TILE_VECTORS * LANES;
        weights += TILE_VECTORS * LANES * p->sources;
    }
    switch (vectors) {
    case 1:
        add_tile_1(target, weights, spikes);
        break;
    case 2:
        add_tile_2(target, weights, spikes);
        break;
    case 3:
        add_tile_3(target, weights, spikes);
        break;
    case 4:
        add_tile_4(target, weights, spikes);
        break;
    case 5:
        add_tile_5(target, weights, spikes);
        break;
    case 6:
        add_tile_6(target, weights, spikes);
        break;
    default:
        break;
    }
}

/* Eight neighbours, or those of them that are `left`. */
static inline void add_some(int16_t *v, const int8_t *weights, mve_pred16_t left)
{
    const int16x8_t weight = vldrbq_z_s16(weights, left);
    vstrhq_p_s16(v, vaddq_s16(vldrhq_z_s16(v, left), weight), left);
}

static inline void add_block_row(int16_t *v, const int8_t *weights, uint32_t rows)
{
    for (uint32_t row = 0; row < rows; row += LANES) {
        add_some(&v[row], &weights[row], vctp16q(rows - row));
    }
}

void l2mu_accumulate_shared_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const mve_pred16_t all = vctp16q(rows);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = (uint32_t)*spike / columns;
        const uint32_t column = *spike - (block * columns);
        if (rows <= LANES) {
            add_some(&v[block * rows], &weights[column * rows], all);
        } else {
            add_block_row(&v[block * rows], &weights[column * rows], rows);
        }
    }
}

void l2mu_accumulate_distinct_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const mve_pred16_t all = vctp16q(rows);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = (uint32_t)*spike / columns;
        if (rows <= LANES) {
            add_some(&v[block * rows], &weights[(uint32_t)*spike * rows], all);
        } else {
            add_block_row(&v[block * rows], &weights[(uint32_t)*spike * rows], rows);
        }
    }
}
