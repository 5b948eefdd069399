/* For AArch64: up to 160 int16 sums in registers. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_kernels.h"

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable)")
#else
#define ONE_BY_ONE
#endif

/* The spikes to follow, at least one, and how far the weights of two sources are apart. */
typedef struct {
    const uint16_t *spike;
    const uint16_t *end;
    size_t stride;
} rows_t;

/* Assembly for a tile of targets: its sums stay in registers while the rows of all spikes pass by.
 * Four registers, 32 sums, at a time; v8 to v15 belong to the caller. */
#define LOAD(first, last) "    ld1    {v" first ".8h-v" last ".8h}, [%[v]], #64\n"
#define STORE(first, last) "    st1    {v" first ".8h-v" last ".8h}, [%[out]], #64\n"
#define WEIGHTS_64(first, last) "    ld1    {v" first ".16b-v" last ".16b}, [%[row]], #64\n"
#define WEIGHTS_32(first, last) "    ld1    {v" first ".16b-v" last ".16b}, [%[row]]\n"
#define ADD(weights, low, high)                                     \
    "    saddw  v" low ".8h, v" low ".8h, v" weights ".8b\n"        \
    "    saddw2 v" high ".8h, v" high ".8h, v" weights ".16b\n"
#define ADD_A(w0, w1) ADD(w0, "0", "1") ADD(w1, "2", "3")
#define ADD_B(w0, w1) ADD(w0, "4", "5") ADD(w1, "6", "7")
#define ADD_C(w0, w1) ADD(w0, "24", "25") ADD(w1, "26", "27")
#define ADD_D(w0, w1) ADD(w0, "28", "29") ADD(w1, "30", "31")
#define ADD_E(w0, w1) ADD(w0, "20", "21") ADD(w1, "22", "23")

#define ROW                                     \
    "    ldrh   %w[row], [%[spike]], #2\n"       \
    "    madd   %[row], %[row], %[stride], %[weights]\n"

/* Two rows at a time; the first time round only one if their number is odd. */
#define TILE(width, load, row_of_weights, store)                                                  \
    static inline void add_tile_of_##width(int16_t *v, const int8_t *weights, rows_t rows)        \
    {                                                                                             \
        const uint16_t *spike = rows.spike;                                                       \
        int16_t *out = v;                                                                         \
        const int8_t *row;                                                                        \
        const ptrdiff_t count = rows.end - rows.spike;                                            \
        __asm__ volatile(load                                                                     \
                         "    tbnz   %[count], #0, 2f\n"                                          \
                         "1:\n" ROW row_of_weights "2:\n" ROW row_of_weights                      \
                         "    cmp    %[spike], %[end]\n"                                          \
                         "    b.ne   1b\n" store                                                  \
                         : [v] "+&r"(v), [out] "+&r"(out), [spike] "+&r"(spike), [row] "=&r"(row) \
                         : [weights] "r"(weights), [stride] "r"(rows.stride), [end] "r"(rows.end),\
                           [count] "r"(count)\
                         : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", \
                           "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",  \
                           "v27", "v28", "v29", "v30", "v31");                                    \
    }

TILE(32, LOAD("0", "3"), WEIGHTS_32("16", "17") ADD_A("16", "17"), STORE("0", "3"))
TILE(64, LOAD("0", "3") LOAD("4", "7"),
     WEIGHTS_64("16", "19") ADD_A("16", "17") ADD_B("18", "19"), STORE("0", "3") STORE("4", "7"))
TILE(96, LOAD("0", "3") LOAD("4", "7") LOAD("24", "27"),
     WEIGHTS_64("16", "19") WEIGHTS_32("20", "21") ADD_A("16", "17") ADD_B("18", "19")
         ADD_C("20", "21"),
     STORE("0", "3") STORE("4", "7") STORE("24", "27"))
TILE(128, LOAD("0", "3") LOAD("4", "7") LOAD("24", "27") LOAD("28", "31"),
     WEIGHTS_64("16", "19") WEIGHTS_64("20", "23") ADD_A("16", "17") ADD_B("18", "19")
         ADD_C("20", "21") ADD_D("22", "23"),
     STORE("0", "3") STORE("4", "7") STORE("24", "27") STORE("28", "31"))
TILE(160, LOAD("0", "3") LOAD("4", "7") LOAD("24", "27") LOAD("28", "31") LOAD("20", "23"),
     WEIGHTS_64("16", "19") ADD_A("16", "17") ADD_B("18", "19") WEIGHTS_64("16", "19")
         ADD_C("16", "17") ADD_D("18", "19") WEIGHTS_32("16", "17") ADD_E("16", "17"),
     STORE("0", "3") STORE("4", "7") STORE("24", "27") STORE("28", "31") STORE("20", "23"))

static inline void add_tile_of_8(int16_t *v, const int8_t *weights, rows_t rows)
{
    int16x8_t sums = vld1q_s16(v);
    ONE_BY_ONE
    for (const uint16_t *spike = rows.spike; spike != rows.end; ++spike) {
        sums = vaddw_s8(sums, vld1_s8(&weights[*spike * rows.stride]));
    }
    vst1q_s16(v, sums);
}

/* Add to one tile, the widest of those left: how many targets it has. */
static inline size_t add_widest_tile(int16_t *v, const int8_t *weights, rows_t rows, size_t left)
{
    if (left >= 160U) {
        add_tile_of_160(v, weights, rows);
        return 160U;
    }
    if (left >= 128U) {
        add_tile_of_128(v, weights, rows);
        return 128U;
    }
    if (left >= 96U) {
        add_tile_of_96(v, weights, rows);
        return 96U;
    }
    if (left >= 64U) {
        add_tile_of_64(v, weights, rows);
        return 64U;
    }
    if (left >= 32U) {
        add_tile_of_32(v, weights, rows);
        return 32U;
    }
    add_tile_of_8(v, weights, rows);
    return 8U;
}

void l2mu_accumulate_dense_i8_i16_neon64(const l2mu_dense_i8_t *p, int16_t *v,
                                         const uint16_t *spikes)
{
    const size_t stride = ((size_t)p->targets + 7U) / 8U * 8U;
    const rows_t rows = {&spikes[1], &spikes[1U + spikes[0]], stride};
    size_t done = (rows.spike == rows.end) ? stride : 0U;
    while (done != stride) {
        done += add_widest_tile(&v[done], &p->weights[done], rows, stride - done);
    }
}
