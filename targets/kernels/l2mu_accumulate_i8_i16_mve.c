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

/* Two vectors of targets: their sums, and their weights' place in a row. */
#define START_PAIR(low, high, weights)              \
    "    vmla.s16 " low ", " high ", %[plus_256]\n" \
    "    vadd.i16 " low ", " low ", %[start]\n"
#define ADD_PAIR(low, high, weights)            \
    "    vldrb.u8 q7, [%[row], #" weights "]\n" \
    "    vadd.i16 " low ", " low ", q7\n"       \
    "    vqdmlah.s16 " high ", q7, %[upper_byte]\n"
#define FINISH_PAIR(low, high, weights) "    vmla.s16 " low ", " high ", %[minus_256]\n"

/* One vector of targets. */
#define START_ONE(sum, weights)
#define ADD_ONE(sum, weights)                    \
    "    vldrb.s16 q7, [%[row], #" weights "]\n" \
    "    vadd.i16 " sum ", " sum ", q7\n"
#define FINISH_ONE(sum, weights)

/* The parts of a tile of 1 to 7 vectors. */
#define PARTS_2(DO) DO##_PAIR("q0", "q1", "0")
#define PARTS_4(DO) PARTS_2(DO) DO##_PAIR("q2", "q3", "16")
#define PARTS_6(DO) PARTS_4(DO) DO##_PAIR("q4", "q5", "32")
#define PARTS_1(DO) DO##_ONE("q0", "0")
#define PARTS_3(DO) PARTS_2(DO) DO##_ONE("q2", "16")
#define PARTS_5(DO) PARTS_4(DO) DO##_ONE("q4", "32")
#define PARTS_7(DO) PARTS_6(DO) DO##_ONE("q6", "48")

#define ROW(vectors)                      \
    "    ldrh   %[row], [%[spike]], #2\n" \
    "    mla    %[row], %[row], %[row_bytes], %[weights]\n" PARTS_##vectors(ADD)

/* Add the rows of `count` spikes, at least one, to a tile of sums, which stay in registers meanwhile. */
#define TILE(vectors, last)                                                                       \
    static inline void add_tile_##vectors(int16_t *v, const int8_t *weights,                      \
                                          const uint16_t *first, size_t count)                    \
    {                                                                                             \
        const uint16_t *spike = first;                                                            \
        int16_t *const sums = v;                                                                  \
        const int8_t *row;                                                                        \
        __asm__ volatile("    vldmia %[v], {d0-" last "}\n" PARTS_##vectors(START)                \
                         "    lsrs   lr, %[count], #1\n"                                          \
                         "    bcc    1f\n"                                                        \
                         ROW(vectors)                                                             \
                         "1:  wls    lr, lr, 3f\n"                                                \
                         "2:\n" ROW(vectors) ROW(vectors)                                         \
                         "    le     lr, 2b\n"                                                    \
                         "3:\n"                                                                   \
                         PARTS_##vectors(FINISH) "    vstmia %[v], {d0-" last "}\n"               \
                         : [spike] "+&r"(spike), [row] "=&l"(row)                                 \
                         : [v] "r"(sums), [weights] "r"(weights), [count] "r"(count),             \
                           [row_bytes] "r"(LANES * (size_t)(vectors)),                            \
                           [start] "r"(-128 * (int32_t)count), [upper_byte] "r"(128),             \
                           [plus_256] "r"(256), [minus_256] "r"(-256)                             \
                         : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory"); \
    }

TILE(1, "d1")
TILE(2, "d3")
TILE(3, "d5")
TILE(4, "d7")
TILE(5, "d9")
TILE(6, "d11")
TILE(7, "d13")

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

/* Where the sums of the first block and the weights of the first row are, and how many bytes it is from
 * there to the next. The assembly has these in r8 to r12. */
typedef struct {
    int16_t *v;
    size_t block_bytes;
    const int8_t *weights;
    size_t row_bytes;
    uint32_t columns;
} blocks_t;

/* The block of the next spike, and its row of weights. */
#define NEXT(spike) "    ldrh   " spike ", [%[next]], #2\n"
#define OF_SHARED                                   \
    NEXT("%[source]")                               \
    "    udiv   %[block], %[source], r12\n"         \
    "    mls    %[row], %[block], r12, %[source]\n" \
    "    mla    %[row], %[row], r11, r10\n"
#define OF_DISTINCT                         \
    NEXT("%[source]")                       \
    "    udiv   %[block], %[source], r12\n" \
    "    mla    %[row], %[source], r11, r10\n"

/* Follow the spikes of a list, at least one, to the next `rows` targets in the block of each, but eight at
 * most; p0 says which lanes there are. */
#define FOLLOW(name, once, block_and_row, each)                                                \
    static inline void name(const blocks_t *to, uint32_t rows, const uint16_t *spikes)         \
    {                                                                                          \
        const uint16_t *next = spikes;                                                         \
        uint32_t source;                                                                       \
        uint32_t block;                                                                        \
        const int8_t *row;                                                                     \
        __asm__ volatile("    ldm    %[to], {r8, r9, r10, r11, r12}\n"                         \
                         "    vctp.16 %[rows]\n"                                               \
                         NEXT("lr")                                                            \
                         "    dls    lr, lr\n" once                                            \
                         "1:\n" block_and_row                                                  \
                         "    mla    %[block], %[block], r9, r8\n" each                        \
                         "    vldrht.u16 q0, [%[block]]\n"                                     \
                         "    vaddt.i16 q0, q0, q1\n"                                          \
                         "    vstrht.16 q0, [%[block]]\n"                                      \
                         "    le     lr, 1b\n"                                                 \
                         : [next] "+&r"(next), [source] "=&r"(source), [block] "=&r"(block),   \
                           [row] "=&l"(row)                                                    \
                         : [to] "r"(to), [rows] "r"(rows)                                      \
                         : "r8", "r9", "r10", "r11", "r12", "lr", "q0", "q1", "cc", "memory"); \
    }

#define LOAD_WEIGHTS "vldrbt.s16 q1, [%[row]]\n"

FOLLOW(follow_shared, "", OF_SHARED, "    vpstttt\n    " LOAD_WEIGHTS)
FOLLOW(follow_distinct, "", OF_DISTINCT, "    vpstttt\n    " LOAD_WEIGHTS)
FOLLOW(follow_column, "    mov    %[row], r10\n    vpst\n    " LOAD_WEIGHTS,
       NEXT("%[block]"), "    vpsttt\n")

/* Of blocks of more than eight rows, eight at a time. */
#define FOR_EIGHTS(follow)                       \
    for (uint32_t left = rows;; left -= LANES) { \
        follow(&to, left, spikes);               \
        if (left <= LANES) {                     \
            return;                              \
        }                                        \
        to.v += LANES;                           \
        to.weights += LANES;                     \
    }

void l2mu_accumulate_shared_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes)
{
    blocks_t to = {NULL, rows * sizeof *v, weights, rows, columns};
    to.v = v;
    if (spikes[0] == 0U) {
        return;
    }
    if (columns == 1U) {
        FOR_EIGHTS(follow_column)
    } else {
        FOR_EIGHTS(follow_shared)
    }
}

void l2mu_accumulate_distinct_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes)
{
    blocks_t to = {NULL, rows * sizeof *v, weights, rows, columns};
    to.v = v;
    if (spikes[0] == 0U) {
        return;
    }
    FOR_EIGHTS(follow_distinct)
}
