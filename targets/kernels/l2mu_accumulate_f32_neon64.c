/* For AArch64: up to 64 float sums in registers; to each, sources are added in their order. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_kernels.h"

/* The spikes to follow, at least one, and how far the weights of two sources are apart. */
typedef struct {
    const uint16_t *spike;
    const uint16_t *end;
    size_t stride;
} rows_t;

/* Assembly for a tile of targets: its sums stay in registers while the rows of all spikes pass by. Four
 * registers, 16 sums, at a time; v8 to v15 belong to the caller. */
#define LOAD(first, last) "    ld1    {v" first ".4s-v" last ".4s}, [%[v]], #64\n"
#define STORE(first, last) "    st1    {v" first ".4s-v" last ".4s}, [%[out]], #64\n"
#define WEIGHTS(first, last) "    ld1    {v" first ".4s-v" last ".4s}, [%[row]], #64\n"
#define ADD(sum, weights) "    fadd   v" sum ".4s, v" sum ".4s, v" weights ".4s\n"
#define ADD_A(w0, w1, w2, w3) ADD("0", w0) ADD("1", w1) ADD("2", w2) ADD("3", w3)
#define ADD_B(w0, w1, w2, w3) ADD("4", w0) ADD("5", w1) ADD("6", w2) ADD("7", w3)
#define ADD_C(w0, w1, w2, w3) ADD("24", w0) ADD("25", w1) ADD("26", w2) ADD("27", w3)
#define ADD_D(w0, w1, w2, w3) ADD("28", w0) ADD("29", w1) ADD("30", w2) ADD("31", w3)

#define ROW                                      \
    "    ldrh   %w[row], [%[spike]], #2\n"       \
    "    madd   %[row], %[row], %[stride], %[weights]\n"

#define TILE(width, load, row_of_weights, store)                                                  \
    static inline void add_tile_of_##width(float *v, const float *weights, rows_t rows)           \
    {                                                                                             \
        const uint16_t *spike = rows.spike;                                                       \
        float *out = v;                                                                           \
        const float *row;                                                                         \
        __asm__ volatile(load "1:\n" ROW row_of_weights                                           \
                         "    cmp    %[spike], %[end]\n"                                          \
                         "    b.ne   1b\n" store                                                  \
                         : [v] "+&r"(v), [out] "+&r"(out), [spike] "+&r"(spike), [row] "=&r"(row) \
                         : [weights] "r"(weights), [stride] "r"(rows.stride * sizeof *weights),   \
                           [end] "r"(rows.end)                                                    \
                         : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", \
                           "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",  \
                           "v27", "v28", "v29", "v30", "v31");                                    \
    }

TILE(16, LOAD("0", "3"), WEIGHTS("16", "19") ADD_A("16", "17", "18", "19"), STORE("0", "3"))
TILE(64, LOAD("0", "3") LOAD("4", "7") LOAD("24", "27") LOAD("28", "31"),
     WEIGHTS("16", "19") WEIGHTS("20", "23") ADD_A("16", "17", "18", "19")
         ADD_B("20", "21", "22", "23") WEIGHTS("16", "19") WEIGHTS("20", "23")
             ADD_C("16", "17", "18", "19") ADD_D("20", "21", "22", "23"),
     STORE("0", "3") STORE("4", "7") STORE("24", "27") STORE("28", "31"))

static inline void add_tile_of_4(float *v, const float *weights, rows_t rows)
{
    float32x4_t sums = vld1q_f32(v);
    for (const uint16_t *spike = rows.spike; spike != rows.end; ++spike) {
        sums = vaddq_f32(sums, vld1q_f32(&weights[*spike * rows.stride]));
    }
    vst1q_f32(v, sums);
}

static inline void add_tile_of_1(float *v, const float *weights, rows_t rows)
{
    for (const uint16_t *spike = rows.spike; spike != rows.end; ++spike) {
        *v += weights[*spike * rows.stride];
    }
}

/* Add to one tile, the widest of those left: how many targets it has. */
static inline size_t add_widest_tile(float *v, const float *weights, rows_t rows, size_t left)
{
    if (left >= 64U) {
        add_tile_of_64(v, weights, rows);
        return 64U;
    }
    if (left >= 16U) {
        add_tile_of_16(v, weights, rows);
        return 16U;
    }
    if (left >= 4U) {
        add_tile_of_4(v, weights, rows);
        return 4U;
    }
    add_tile_of_1(v, weights, rows);
    return 1U;
}

void l2mu_accumulate_dense_f32_neon64(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes)
{
    const size_t stride = ((size_t)p->targets + 7U) / 8U * 8U;
    const rows_t rows = {&spikes[1], &spikes[1U + spikes[0]], stride};
    size_t done = (rows.spike == rows.end) ? p->targets : 0U;
    while (done != p->targets) {
        done += add_widest_tile(&v[done], &p->weights[done], rows, p->targets - done);
    }
}
