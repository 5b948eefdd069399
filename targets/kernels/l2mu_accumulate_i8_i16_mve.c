/* For processors with Helium (Armv8.1-M, integer MVE): eight int16 sums in a vector.
 *
 * A dense row's weights are taken sixteen at a time. Of two neighbouring vectors of targets the weights
 * are bytes of one int16, 2^8 high + low + 128, so that there are three instructions for both: the int16
 * are added up modulo 2^16, and the bytes `high` by a multiplication that keeps the upper half, which
 * would saturate if a sum left int16. Then the sum of `low` is the first minus 2^8 times the second, minus
 * 128 for each row. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_kernels.h"

#define LANES 8U
#define TILE_VECTORS 7U

/* Two vectors of targets: their sums, their weights' place in a row, their places in v. */
#define START_PAIR(low, high, weights, low_place, high_place)  \
    "    vldrh.u16 " high ", [%[v], #" high_place "]\n"        \
    "    vldrh.u16 " low ", [%[v], #" low_place "]\n"          \
    "    vmla.s16 " low ", " high ", %[plus_256]\n"            \
    "    vadd.i16 " low ", " low ", %[start]\n"
#define ADD_PAIR(low, high, weights, low_place, high_place)    \
    "    vldrb.u8 q7, [%[row], #" weights "]\n"                \
    "    vadd.i16 " low ", " low ", q7\n"                      \
    "    vqdmlah.s16 " high ", q7, %[upper_byte]\n"
#define FINISH_PAIR(low, high, weights, low_place, high_place) \
    "    vmla.s16 " low ", " high ", %[minus_256]\n"           \
    "    vstrh.16 " high ", [%[v], #" high_place "]\n"         \
    "    vstrh.16 " low ", [%[v], #" low_place "]\n"

/* One vector of targets. */
#define START_ONE(sum, weights, place) "    vldrh.u16 " sum ", [%[v], #" place "]\n"
#define ADD_ONE(sum, weights, place)              \
    "    vldrb.s16 q7, [%[row], #" weights "]\n" \
    "    vadd.i16 " sum ", " sum ", q7\n"
#define FINISH_ONE(sum, weights, place) "    vstrh.16 " sum ", [%[v], #" place "]\n"

/* The parts of a tile of 1 to 7 vectors. */
#define PARTS_2(DO) DO##_PAIR("q0", "q1", "0", "0", "16")
#define PARTS_4(DO) PARTS_2(DO) DO##_PAIR("q2", "q3", "16", "32", "48")
#define PARTS_6(DO) PARTS_4(DO) DO##_PAIR("q4", "q5", "32", "64", "80")
#define PARTS_1(DO) DO##_ONE("q6", "0", "0")
#define PARTS_3(DO) PARTS_2(DO) DO##_ONE("q6", "16", "32")
#define PARTS_5(DO) PARTS_4(DO) DO##_ONE("q6", "32", "64")
#define PARTS_7(DO) PARTS_6(DO) DO##_ONE("q6", "48", "96")

#define ROW(vectors)                                                   \
    "    ldrh   %[row], [%[spike]], #2\n"                              \
    "    mla    %[row], %[row], %[row_bytes], %[weights]\n" PARTS_##vectors(ADD)

/* Add the rows of `count` spikes, at least one, to a tile of sums, which stay in registers meanwhile. */
#define TILE(vectors)                                                                             \
    static inline void add_tile_##vectors(int16_t *v, const int8_t *weights,                      \
                                          const uint16_t *first, size_t count)                    \
    {                                                                                             \
        const uint16_t *spike = first;                                                            \
        int16_t *const sums = v;                                                                  \
        const int8_t *row;                                                                        \
        __asm__ volatile(PARTS_##vectors(START)                                                   \
                         "    lsrs   lr, %[count], #1\n"                                          \
                         "    bcc    1f\n"                                                        \
                         ROW(vectors)                                                             \
                         "1:  wls    lr, lr, 3f\n"                                                \
                         "2:\n" ROW(vectors) ROW(vectors)                                         \
                         "    le     lr, 2b\n"                                                    \
                         "3:\n"                                                                   \
                         PARTS_##vectors(FINISH)                                                  \
                         : [spike] "+&r"(spike), [row] "=&l"(row)                                  \
                         : [v] "r"(sums), [weights] "r"(weights), [count] "r"(count),             \
                           [row_bytes] "r"(LANES * (size_t)(vectors)),                            \
                           [start] "r"(-128 * (int32_t)count), [upper_byte] "r"(128),             \
                           [plus_256] "r"(256), [minus_256] "r"(-256)                             \
                         : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory"); \
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
    const uint16_t *const first = &spikes[1];
    const size_t count = spikes[0];
    const size_t tile_bytes = (size_t)TILE_VECTORS * LANES * p->sources;
    const int8_t *weights = p->weights;
    int16_t *target = v;
    size_t vectors = (p->targets + (LANES - 1U)) / LANES;
    if (count == 0U) {
        return;
    }
    for (; vectors >= TILE_VECTORS; vectors -= TILE_VECTORS) {
        add_tile_7(target, weights, first, count);
        target += TILE_VECTORS * LANES;
        weights += tile_bytes;
    }
    switch (vectors) {
    case 1:
        add_tile_1(target, weights, first, count);
        break;
    case 2:
        add_tile_2(target, weights, first, count);
        break;
    case 3:
        add_tile_3(target, weights, first, count);
        break;
    case 4:
        add_tile_4(target, weights, first, count);
        break;
    case 5:
        add_tile_5(target, weights, first, count);
        break;
    case 6:
        add_tile_6(target, weights, first, count);
        break;
    default:
        break;
    }
}

/* Blocks of `rows` targets: eight at once, or those of them that there are. Of four there are vectors. */
static inline void add_block_row(int16_t *v, const int8_t *weights, uint32_t rows)
{
    if (rows == 4U) {
        vstrhq_s32(v, vaddq_s32(vldrhq_s32(v), vldrbq_s32(weights)));
        return;
    }
    for (uint32_t row = 0; row < rows; row += LANES) {
        const mve_pred16_t left = vctp16q(rows - row);
        const int16x8_t weight = vldrbq_z_s16(&weights[row], left);
        vstrhq_p_s16(&v[row], vaddq_s16(vldrhq_z_s16(&v[row], left), weight), left);
    }
}

void l2mu_accumulate_shared_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = (uint32_t)*spike / columns;
        const uint32_t column = *spike - (block * columns);
        add_block_row(&v[(size_t)block * rows], &weights[(size_t)column * rows], rows);
    }
}

void l2mu_accumulate_distinct_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = (uint32_t)*spike / columns;
        add_block_row(&v[(size_t)block * rows], &weights[(size_t)*spike * rows], rows);
    }
}
